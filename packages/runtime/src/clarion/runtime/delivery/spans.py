"""The spans of a sampled delivery: ``deliver <channel>`` around ``<provider> send``."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanKind, Status, StatusCode

from clarion.runtime import tracing
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.metrics import Attribute
from clarion.runtime.streams import flow_of


def start_span(entry: Entry, channel: str) -> None:
    """Opens the delivery's span where its job was sampled and spans go anywhere."""
    traceparent = entry.job.trace_parent
    tracer = tracing.recorder()
    if not traceparent or tracer is None:
        return
    remote = tracing.parse(traceparent)
    if remote is None or not remote.trace_flags.sampled:
        return
    entry.span = tracer.start_span(
        f"deliver {channel}",
        context=trace.set_span_in_context(NonRecordingSpan(remote), Context()),
        kind=SpanKind.CONSUMER,
        attributes={
            "messaging.system": "nats",
            Attribute.CHANNEL: channel,
            Attribute.LANE: flow_of(entry.lane),
            Attribute.TENANT_ID: entry.job.tenant_id,
            Attribute.NOTIFICATION_ID: entry.job.notification_id,
            Attribute.DELIVERY_ID: entry.job.delivery_id,
            Attribute.ATTEMPT: entry.attempt,
        },
    )


def end_span(entry: Entry) -> None:
    """Closes it, with the provider's call inside, from when to when it ran."""
    span = entry.span
    if span is None:
        return
    entry.span = None
    tracer = tracing.recorder()
    outcome = entry.outcome
    if outcome is None or tracer is None:
        span.set_attribute(Attribute.OUTCOME, entry.claim.state.name.lower())
        span.end()
        return
    end = int(entry.at.timestamp() * 1e9)
    latency = entry.latency
    start = end - int(latency.total_seconds() * 1e9) if latency is not None else end
    call = tracer.start_span(
        f"{entry.provider} send",
        context=trace.set_span_in_context(span, Context()),
        kind=SpanKind.CLIENT,
        start_time=start,
        attributes={Attribute.PROVIDER: entry.provider},
    )
    for each in (call, span):
        each.set_attribute(Attribute.OUTCOME, outcome.kind.value)
        if outcome.kind is not OutcomeKind.SENT:
            each.set_attribute("error.type", outcome.reason or outcome.kind.value)
            each.set_status(Status(StatusCode.ERROR))
    call.end(end)
    span.end()
