"""Calls within a process that differ from those by the network: none for the caller."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from clarion.api.inapp.v1.inbox_service_pb2 import (
    GetInboxCountsRequest,
    WatchInboxRequest,
)
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    BatchAcquireRequest,
    BatchPeekRequest,
)
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from clarion.runtime import errors
from clarion.runtime.caller import as_tenant
from clarion.runtime.identity import current_service
from clarion.runtime.interceptors.deadline import time_left

ACQUIRE = BatchAcquireRequest()


@pytest.fixture(params=["by the network", "in the process"])
def mesh(server, request):
    return server.mesh() if request.param == "by the network" else server.near()


@pytest.fixture
def stub(mesh):
    return RateLimitServiceStub(mesh)


async def test_a_request_that_breaks_a_rule_is_refused_with_its_field(mesh, behaviour):
    with as_tenant("demo"), pytest.raises(errors.InvalidArgumentError) as caught:
        await InboxServiceStub(mesh).GetInboxCounts(GetInboxCountsRequest())

    assert [one.field for one in caught.value.violations] == ["user_id"]
    assert behaviour.calls == 0


async def test_the_deadline_is_kept_by_the_neighbour(stub, behaviour):
    ended = asyncio.Event()

    async def wait():
        assert 0 < (time_left() or 0) < 0.2
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    behaviour.run = wait
    with as_tenant("demo"), pytest.raises(errors.DeadlineError):
        await stub.BatchAcquire(ACQUIRE, timeout=0.2)

    await asyncio.wait_for(ended.wait(), 5)


async def test_who_stops_waiting_stops_the_neighbour(stub, behaviour):
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait():
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    behaviour.run = wait
    with as_tenant("demo"):
        asking = asyncio.create_task(_ask(stub))
        await asyncio.wait_for(began.wait(), 5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    await asyncio.wait_for(ended.wait(), 5)


async def _ask(stub):
    await stub.BatchAcquire(ACQUIRE)


async def test_what_nobody_serves_is_said_so(stub):
    with (
        as_tenant("demo"),
        pytest.raises(errors.UnavailableError, match="UNIMPLEMENTED"),
    ):
        await stub.BatchPeek(BatchPeekRequest())


async def test_a_neighbour_that_stays_unavailable_is_asked_four_times(stub, behaviour):
    behaviour.raises(errors.UnavailableError("the store is away"))

    with as_tenant("demo"), pytest.raises(errors.UnavailableError):
        await stub.BatchAcquire(ACQUIRE)

    assert behaviour.calls == 4


async def test_each_try_is_logged_with_its_own_outcome(stub, behaviour, caplog):
    async def fail_once():
        if behaviour.calls == 1:
            raise errors.UnavailableError("for a moment")

    behaviour.run = fail_once
    with caplog.at_level("DEBUG"), as_tenant("demo"):
        await stub.BatchAcquire(ACQUIRE)

    ended = [one for one in caplog.records if one.getMessage() == "rpc ended"]
    assert [one.status for one in ended] == ["UNAVAILABLE", "OK"]


async def test_a_near_neighbour_that_is_not_ready_is_not_called(server, behaviour):
    async def check():
        raise ConnectionError("down")

    server.health.depends_on("database", check)
    await server.health.look()
    await server.health.look()
    stub = RateLimitServiceStub(server.near())

    with as_tenant("demo"), pytest.raises(errors.UnavailableError, match="not ready"):
        await stub.BatchAcquire(ACQUIRE)

    assert behaviour.calls == 0


async def test_a_near_call_belongs_to_the_service_that_is_called(server, behaviour):
    seen = []

    async def look():
        seen.append(current_service())

    behaviour.run = look
    with as_tenant("demo"):
        await RateLimitServiceStub(server.near()).BatchAcquire(ACQUIRE)

    assert (seen, current_service()) == ([server.name], "")


async def test_a_near_call_leaves_no_deadline_behind(server, behaviour):
    stub = RateLimitServiceStub(server.near())
    with as_tenant("demo"):
        await stub.BatchAcquire(ACQUIRE, timeout=monotonic())

    assert time_left() is None


async def test_streams_of_a_near_neighbour_take_the_network(server):
    stub = InboxServiceStub(server.near())

    with as_tenant("demo"):
        changes = [one async for one in stub.WatchInbox(WatchInboxRequest(user_id="u"))]

    assert len(changes) == 2
