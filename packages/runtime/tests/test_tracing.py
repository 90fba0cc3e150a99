"""Trace context through servers, channels and items."""

from __future__ import annotations

import pytest

from clarion.api.inapp.v1.inbox_service_pb2 import GetInboxCountsRequest
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import BatchAcquireRequest
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from clarion.runtime import tracing
from clarion.runtime.testing import capture_spans
from clarion.runtime.tracing import current_traceparent, parse, span_from

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"
COUNTS = GetInboxCountsRequest(user_id="u1")


async def test_one_trace_goes_through_a_server_to_its_neighbour(server, behaviour):
    neighbour = RateLimitServiceStub(server.mesh())

    async def call_on():
        if behaviour.calls == 1:
            await neighbour.BatchAcquire(BatchAcquireRequest())

    behaviour.run = call_on
    with capture_spans() as spans:
        await InboxServiceStub(server.channel()).GetInboxCounts(
            COUNTS, metadata=(("traceparent", SAMPLED),)
        )

    inner = spans.named("clarion.api.ratelimit.v1.RateLimitService/BatchAcquire")
    outer = spans.named("clarion.api.inapp.v1.InboxService/GetInboxCounts")
    assert f"{outer.context.trace_id:032x}" == TRACE
    assert inner.parent.span_id == outer.context.span_id
    assert outer.attributes["rpc.grpc.status_code"] == 0


async def test_a_fault_marks_the_span(server, behaviour):
    behaviour.raises(ZeroDivisionError())

    with capture_spans() as spans, pytest.raises(Exception, match="Clarion failed"):
        await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS)

    span = spans.named("clarion.api.inapp.v1.InboxService/GetInboxCounts")
    assert span.attributes["rpc.grpc.status_code"] == 13
    assert span.status.status_code.name == "ERROR"


async def test_a_context_that_came_in_is_passed_on_without_telemetry(server, behaviour):
    seen = []
    neighbour = RateLimitServiceStub(server.mesh())

    async def look():
        seen.append(current_traceparent())
        if len(seen) == 1:
            await neighbour.BatchAcquire(BatchAcquireRequest())

    behaviour.run = look
    await InboxServiceStub(server.channel()).GetInboxCounts(
        COUNTS, metadata=(("traceparent", SAMPLED),)
    )

    assert seen == [SAMPLED, SAMPLED]


def test_an_item_continues_its_own_trace():
    with capture_spans() as spans, span_from(SAMPLED, "deliver"):
        inside = current_traceparent()

    assert TRACE in inside
    assert inside.endswith(f"{spans.named('deliver').context.span_id:016x}-01")


@pytest.mark.parametrize("traceparent", ["", UNSAMPLED, "nonsense"])
def test_an_item_that_is_not_sampled_records_nothing(traceparent):
    with capture_spans() as spans, span_from(traceparent, "deliver") as span:
        assert not span.is_recording()

    assert spans.finished == ()


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-0-0-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
    ],
)
def test_what_is_no_traceparent_is_not_taken_for_one(traceparent):
    assert parse(traceparent) is None


def test_a_later_version_of_the_header_is_understood():
    assert parse(f"cc-{TRACE}-00f067aa0ba902b7-01-more") is not None


def test_the_state_of_other_vendors_is_kept():
    token = tracing.attach(SAMPLED, "vendor=1")
    try:
        assert tracing.outgoing() == [
            ("traceparent", SAMPLED),
            ("tracestate", "vendor=1"),
        ]
    finally:
        tracing.detach(token)
