"""One log line and one measurement for each RPC."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

import grpc

from clarion.runtime.interceptors.rpc import Proceed, Rpc
from clarion.runtime.interceptors.tracing import code_of
from clarion.runtime.methods import Method
from clarion.runtime.metrics import Attribute, Name, histogram

logger = logging.getLogger(__name__)

# A line for every RPC would cost more than many RPCs do, so successes need DEBUG.
_LEVELS = {
    grpc.StatusCode.OK: logging.DEBUG,
    grpc.StatusCode.CANCELLED: logging.DEBUG,
    grpc.StatusCode.UNAVAILABLE: logging.WARNING,
    grpc.StatusCode.DEADLINE_EXCEEDED: logging.WARNING,
    grpc.StatusCode.INTERNAL: logging.ERROR,
    grpc.StatusCode.UNKNOWN: logging.ERROR,
}


class RequestLogInterceptor:
    """Logs method, status and duration; never a field of the request."""

    def __init__(self) -> None:
        self._duration = histogram(Name.RPC_DURATION)

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        async def logged(rpc: Rpc, request: Any) -> Any:
            started = perf_counter()
            try:
                return await proceed(rpc, request)
            finally:
                code = code_of(rpc)
                millis = (perf_counter() - started) * 1000
                self._duration.record(
                    millis,
                    {
                        Attribute.RPC_SERVICE: method.service,
                        Attribute.RPC_METHOD: method.name,
                        Attribute.RPC_STATUS: code.value[0],
                    },
                )
                level = _LEVELS.get(code, logging.INFO)
                if logger.isEnabledFor(level):
                    logger.log(
                        level,
                        "rpc ended",
                        extra={
                            "rpc": method.path,
                            "status": code.name,
                            "millis": round(millis, 2),
                        },
                    )

        return logged
