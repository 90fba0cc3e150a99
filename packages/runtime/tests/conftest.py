"""Servicers of real contracts whose behaviour each test decides, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from clarion.api.channel.v1 import link_service_pb2, link_service_pb2_grpc
from clarion.api.inapp.v1 import inbox_service_pb2, inbox_service_pb2_grpc
from clarion.api.ratelimit.v1 import (
    rate_limit_service_pb2,
    rate_limit_service_pb2_grpc,
)
from clarion.runtime.testing import GrpcHarness, serve


async def nothing() -> None:
    return None


class Behaviour:
    """What every servicer below does before it answers."""

    def __init__(self) -> None:
        self.run: Callable[[], Awaitable[Any]] = nothing
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        await self.run()

    def raises(self, error: BaseException) -> None:
        async def fail() -> None:
            raise error

        self.run = fail


class Inbox(inbox_service_pb2_grpc.InboxServiceServicer):
    """Scope inbox:read; the watch sends two changes before the behaviour."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    async def GetInboxCounts(self, request: Any, context: Any) -> Any:
        await self.behaviour()
        return inbox_service_pb2.GetInboxCountsResponse()

    async def WatchInbox(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield inbox_service_pb2.WatchInboxResponse()
        yield inbox_service_pb2.WatchInboxResponse()
        await self.behaviour()


class RateLimit(rate_limit_service_pb2_grpc.RateLimitServiceServicer):
    """BatchAcquire has no scope in its contract, so it is internal."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    async def BatchAcquire(self, request: Any, context: Any) -> Any:
        await self.behaviour()
        return rate_limit_service_pb2.BatchAcquireResponse()


class Link(link_service_pb2_grpc.LinkServiceServicer):
    """FollowLink is public."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    async def FollowLink(self, request: Any, context: Any) -> Any:
        await self.behaviour()
        return link_service_pb2.FollowLinkResponse()


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
async def server(behaviour: Behaviour) -> AsyncIterator[GrpcHarness]:
    async with serve(
        (
            inbox_service_pb2_grpc.add_InboxServiceServicer_to_server,
            Inbox(behaviour),
        ),
        (
            rate_limit_service_pb2_grpc.add_RateLimitServiceServicer_to_server,
            RateLimit(behaviour),
        ),
        (link_service_pb2_grpc.add_LinkServiceServicer_to_server, Link(behaviour)),
        keys=[("writer-key", "demo", ["inbox:write"])],
    ) as harness:
        yield harness
