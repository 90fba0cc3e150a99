"""Calls to neighbours: what they carry and how they fail."""

from __future__ import annotations

import asyncio
import json

import pytest

from clarion.api.inapp.v1.inbox_service_pb2 import (
    GetInboxCountsRequest,
    WatchInboxRequest,
)
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import BatchAcquireRequest
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from clarion.runtime import errors
from clarion.runtime.caller import as_tenant, current_caller
from clarion.runtime.channel import open_channel, service_config
from clarion.runtime.config import Secret
from clarion.runtime.testing import INTERNAL_KEY
from clarion.runtime.testing.waiting import wait_until

ACQUIRE = BatchAcquireRequest()


@pytest.fixture(params=["by the network", "in the process"])
def mesh(server, request):
    return server.mesh if request.param == "by the network" else server.near


async def test_the_tenant_of_the_context_travels(mesh, behaviour):
    seen = []

    async def look():
        seen.append(current_caller().tenant)

    behaviour.run = look
    stub = RateLimitServiceStub(mesh())
    with as_tenant("acme"):
        await stub.BatchAcquire(ACQUIRE)

    assert seen == ["acme"]


async def test_the_tenant_of_the_caller_travels_on(server, mesh, behaviour):
    seen = []
    neighbour = RateLimitServiceStub(mesh())

    async def call_on():
        seen.append(current_caller())
        if len(seen) == 1:
            await neighbour.BatchAcquire(ACQUIRE)

    behaviour.run = call_on
    stub = InboxServiceStub(server.channel())
    await stub.GetInboxCounts(GetInboxCountsRequest(user_id="u1"))

    assert [caller.tenant for caller in seen] == ["demo", "demo"]
    assert seen[0].key_id != seen[1].key_id


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (errors.NotFoundError.of("user", "u1"), errors.NotFoundError),
        (errors.OverloadedError("full"), errors.OverloadedError),
        (errors.TemplateInvalidError("line 3"), errors.TemplateInvalidError),
        (ZeroDivisionError(), errors.InternalError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_a_neighbours_error_is_raised_as_ours(mesh, behaviour, raised, expected):
    behaviour.raises(raised)

    with as_tenant("demo"), pytest.raises(expected) as caught:
        await RateLimitServiceStub(mesh()).BatchAcquire(ACQUIRE)

    assert type(caught.value) is expected


async def test_a_refused_service_key_is_transient_so_that_work_is_held(mesh):
    stub = RateLimitServiceStub(mesh("wrong-key"))

    with as_tenant("demo"), pytest.raises(errors.UnavailableError):
        await stub.BatchAcquire(ACQUIRE)


async def test_a_neighbour_that_is_not_there_is_unavailable():
    async with open_channel("127.0.0.1:1", key=None) as channel:
        with pytest.raises(errors.UnavailableError):
            await RateLimitServiceStub(channel).BatchAcquire(ACQUIRE)


async def test_unavailable_is_retried(mesh, behaviour):
    async def fail_once():
        if behaviour.calls == 1:
            raise errors.UnavailableError("for a moment")

    behaviour.run = fail_once
    with as_tenant("demo"):
        await RateLimitServiceStub(mesh()).BatchAcquire(ACQUIRE)

    assert behaviour.calls == 2


async def test_a_stream_of_a_neighbour_raises_our_errors(server, behaviour):
    behaviour.raises(errors.PreconditionError("closed"))
    stub = InboxServiceStub(server.mesh())

    with as_tenant("demo"), pytest.raises(errors.PreconditionError):
        async for _ in stub.WatchInbox(WatchInboxRequest(user_id="u1")):
            pass


async def test_leaving_a_stream_cancels_it(server, behaviour):
    ended = asyncio.Event()

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    behaviour.run = wait
    stub = InboxServiceStub(server.mesh())
    with as_tenant("demo"):
        call = stub.WatchInbox(WatchInboxRequest(user_id="u1"))
        changes = aiter(call)
        await anext(changes)
        await anext(changes)
        await changes.aclose()

    await asyncio.wait_for(ended.wait(), 5)


async def test_a_neighbour_that_is_not_ready_is_not_called(server, behaviour):
    down = False

    async def check():
        if down:
            raise ConnectionError("down")

    server.health.depends_on("database", check)
    await server.health.look()
    async with open_channel(server.target, key=Secret(INTERNAL_KEY)) as channel:
        stub = RateLimitServiceStub(channel)
        with as_tenant("demo"):
            await stub.BatchAcquire(ACQUIRE)
            down = True
            await server.health.look()
            await server.health.look()
            await wait_until(lambda: channel.get_state().name != "READY")

            with pytest.raises(errors.UnavailableError):
                await stub.BatchAcquire(ACQUIRE)

    assert behaviour.calls == 1


def test_a_channel_may_go_without_health_checks():
    assert "healthCheckConfig" in json.loads(service_config())
    assert "healthCheckConfig" not in json.loads(service_config(None))
