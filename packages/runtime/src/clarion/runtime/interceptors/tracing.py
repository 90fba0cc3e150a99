"""The server side of W3C trace context: the caller's span, then one for the RPC."""

from __future__ import annotations

from typing import Any

import grpc
from opentelemetry.trace import SpanKind, StatusCode

from clarion.runtime import tracing
from clarion.runtime.interceptors.rpc import Proceed, Rpc
from clarion.runtime.methods import Method

# Statuses that are the server's fault and mark the span (OpenTelemetry's RPC rules).
_SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class TracingInterceptor:
    """Passes the caller's context on, and records a span where telemetry is on."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        name = method.path.removeprefix("/")
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": method.service,
            "rpc.method": method.name,
        }

        async def traced(rpc: Rpc, request: Any) -> Any:
            # Never detached: the context belongs to this RPC's task and ends with it.
            tracing.attach(rpc.text(tracing.TRACEPARENT), rpc.text(tracing.TRACESTATE))
            if not tracing.recording():
                return await proceed(rpc, request)
            with tracing.span(name, SpanKind.SERVER, attributes) as span:
                try:
                    return await proceed(rpc, request)
                finally:
                    code = code_of(rpc)
                    span.set_attribute("rpc.grpc.status_code", code.value[0])
                    if code in _SERVER_FAULTS:
                        span.set_status(StatusCode.ERROR)

        return traced


def code_of(rpc: Rpc) -> grpc.StatusCode:
    """The status that the RPC ends with; OK where none was set."""
    code: Any = rpc.context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return _CODES.get(code, grpc.StatusCode.OK)


_CODES = {code.value[0]: code for code in grpc.StatusCode}
