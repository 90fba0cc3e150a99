"""Deadlines: inherited, shaved, kept, refused."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from clarion.api.inapp.v1.inbox_service_pb2 import GetInboxCountsRequest
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import BatchAcquireRequest
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from clarion.runtime.caller import as_tenant
from clarion.runtime.errors import DeadlineError
from clarion.runtime.interceptors.deadline import time_left
from clarion.runtime.testing import refused

COUNTS = GetInboxCountsRequest(user_id="u1")


async def test_the_work_has_the_callers_deadline_less_the_shave(server, behaviour):
    left = []

    async def look():
        left.append(time_left())

    behaviour.run = look
    await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS, timeout=5)

    # gRPC rounds a deadline up on the wire, by up to some milliseconds.
    assert 4 < left[0] < 5


async def test_without_a_deadline_there_is_none(server, behaviour):
    left = []

    async def look():
        left.append(time_left())

    behaviour.run = look
    await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS)

    assert left == [None]


async def test_work_that_takes_too_long_is_cancelled_and_says_so_in_time(
    server, behaviour
):
    cancelled = []

    async def hang():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise

    behaviour.run = hang
    with refused() as refusal:
        call = InboxServiceStub(server.channel()).GetInboxCounts
        await call(COUNTS, timeout=0.3)

    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    # With the reason: the server's answer came before the caller's own clock ran out.
    assert refusal.reason == "DEADLINE_EXCEEDED"
    assert cancelled == ["yes"]


async def test_too_little_time_is_refused_on_arrival(server, behaviour):
    # One call first, so that the connection does not eat the time.
    stub = InboxServiceStub(server.channel())
    await stub.GetInboxCounts(COUNTS)

    with refused() as refusal:
        await stub.GetInboxCounts(COUNTS, timeout=0.018)

    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert behaviour.calls == 1


async def test_the_works_own_timeout_is_not_taken_for_the_callers(server, behaviour):
    behaviour.raises(TimeoutError())

    with refused() as refusal:
        call = InboxServiceStub(server.channel()).GetInboxCounts
        await call(COUNTS, timeout=5)

    assert refusal.code is grpc.StatusCode.INTERNAL


async def test_a_neighbour_is_called_with_what_is_left(server, behaviour):
    left: list[float] = []
    neighbour = RateLimitServiceStub(server.mesh())

    async def look_twice():
        left.append(time_left())
        if len(left) == 1:
            await neighbour.BatchAcquire(BatchAcquireRequest())

    behaviour.run = look_twice
    await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS, timeout=3)

    first, second = left
    assert second < first


async def test_a_call_outside_an_rpc_has_the_channels_default(server, behaviour):
    left = []

    async def look():
        left.append(time_left())

    behaviour.run = look
    with as_tenant("demo"):
        await RateLimitServiceStub(server.mesh()).BatchAcquire(BatchAcquireRequest())

    assert 4 < left[0] < 5


async def test_a_neighbours_deadline_is_a_transient_error(server, behaviour):
    behaviour.run = asyncio.Event().wait
    stub = RateLimitServiceStub(server.mesh())

    with as_tenant("demo"), pytest.raises(DeadlineError):
        await stub.BatchAcquire(BatchAcquireRequest(), timeout=0.1)
