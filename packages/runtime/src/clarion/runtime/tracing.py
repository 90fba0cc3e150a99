"""W3C trace context in and out of gRPC metadata, message headers and items.

Everything here works without an exporter: a context that came in is passed on, spans
are recorded only where ``telemetry.setup`` found somewhere to send them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import AttributeValue

from clarion.runtime.identity import current_service

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_TRACEPARENT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED = TraceFlags.SAMPLED

_nothing: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)
_tracers: dict[str, trace.Tracer] = {}


def use_tracer(tracer: trace.Tracer, service: str = "") -> None:
    """Sets where spans of a service are recorded; without a name those of all that have
    no tracer of their own. Called by telemetry."""
    _tracers[service] = tracer


def stop_recording() -> None:
    """From now on spans go nowhere."""
    _tracers.clear()


def recording() -> bool:
    """Whether spans of this process go anywhere."""
    return bool(_tracers)


def recorder() -> trace.Tracer | None:
    """The tracer of the service under way, for spans that outlive a block; None while
    nothing is recorded."""
    if not _tracers:
        return None
    return _tracers.get(current_service()) or _tracers.get("")


def current_traceparent() -> str:
    """The ``traceparent`` of the span under way; empty outside any trace."""
    span = trace.get_current_span()
    if span is INVALID_SPAN:
        return ""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return (
        f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )


def sampled_traceparent() -> str:
    """The same for what an item carries: empty also where the trace is not sampled."""
    traceparent = current_traceparent()
    return traceparent if is_sampled(traceparent) else ""


def current_ids() -> tuple[str, str]:
    """Trace id and span id under way in hex; two empty texts outside any trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def outgoing() -> list[tuple[str, str]]:
    """The trace headers to send with a call or message; empty outside any trace."""
    traceparent = current_traceparent()
    if not traceparent:
        return []
    state = trace.get_current_span().get_span_context().trace_state
    headers = [(TRACEPARENT, traceparent)]
    if state:
        headers.append((TRACESTATE, state.to_header()))
    return headers


def parse(traceparent: str, tracestate: str = "") -> SpanContext | None:
    """The span context that a W3C header names; None when it is not a valid one."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest):
        return None
    state = TraceState.from_header([tracestate]) if tracestate else None
    context = SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(flags, 16) & _SAMPLED),
        trace_state=state,
    )
    return context if context.is_valid else None


def attach(traceparent: str, tracestate: str = "") -> Token[Context] | None:
    """Makes a remote span the parent of what follows in this task.

    Returns a token for ``detach``, or None when the header is empty or invalid.
    """
    remote = parse(traceparent, tracestate) if traceparent else None
    if remote is None:
        return None
    parent = trace.set_span_in_context(NonRecordingSpan(remote), Context())
    return otel_context.attach(parent)


def detach(token: Token[Context] | None) -> None:
    """Undoes ``attach``."""
    if token is not None:
        otel_context.detach(token)


def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> AbstractContextManager[Span]:
    """A span under the one under way; a root, if the sampler likes, where none is."""
    tracer = recorder()
    if tracer is None:
        return _nothing
    return tracer.start_as_current_span(name, kind=kind, attributes=attributes)


def span_from(
    traceparent: str,
    name: str,
    kind: SpanKind = SpanKind.CONSUMER,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> AbstractContextManager[Span]:
    """A span under the one that an item carries in ``trace_parent``.

    Costs next to nothing where that one was not sampled (or is missing, or nothing is
    recorded here): then the block runs in the trace around it, unchanged. The sampling
    decision is the sender's; an item without a trace starts none.
    """
    tracer = recorder()
    if tracer is None or not is_sampled(traceparent):
        return _nothing
    remote = parse(traceparent)
    if remote is None:
        return _nothing
    parent = trace.set_span_in_context(NonRecordingSpan(remote), Context())
    return tracer.start_as_current_span(
        name, context=parent, kind=kind, attributes=attributes
    )


def is_sampled(traceparent: str) -> bool:
    """Whether a ``traceparent`` says that its trace is recorded."""
    # The flags are the last two of 55 characters; odd means sampled.
    return len(traceparent) == 55 and traceparent[54] in "13579bdf"
