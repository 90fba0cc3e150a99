"""What the SDK repeats, and where a watch goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from clarion.api.inapp.v1.inbox_service_pb2 import (
    InboxCounts,
    InboxItem,
    ListInboxResponse,
    WatchInboxResponse,
)
from clarion.api.inapp.v1.inbox_service_pb2_grpc import (
    InboxServiceServicer,
    add_InboxServiceServicer_to_server,
)
from clarion.api.router.v1.notification_service_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from clarion.client import ApiError, Client, notification


class FullForEver(NotificationServiceServicer):
    def __init__(self) -> None:
        self.calls = 0

    async def SendNotification(self, request, context):
        self.calls += 1
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max")


class BreakingWatch(InboxServiceServicer):
    """Three items; every watch breaks after its first one."""

    def __init__(self) -> None:
        self.resumed: list[int] = []

    async def ListInbox(self, request, context):
        return ListInboxResponse(counts=InboxCounts(version=1))

    async def WatchInbox(self, request, context):
        self.resumed.append(request.after_version)
        yield WatchInboxResponse(
            item=InboxItem(version=request.after_version + 1),
            counts=InboxCounts(version=3),
        )
        await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")


@asynccontextmanager
async def calling(add, servicer) -> AsyncIterator[Client]:
    server = grpc.aio.server()
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", "key") as client:
            yield client
    finally:
        await server.stop(0)


async def test_exhausted_call_without_a_reason_is_not_repeated():
    servicer = FullForEver()
    async with calling(add_NotificationServiceServicer_to_server, servicer) as client:
        with pytest.raises(ApiError) as caught:
            await client.send(notification("user", "news"))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert servicer.calls == 1


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3]), (None, [2, 3])])
async def test_watch_goes_on_after_the_last_item_seen(after, expected):
    servicer = BreakingWatch()
    seen = []
    async with calling(add_InboxServiceServicer_to_server, servicer) as client:
        changes = client.watch_inbox("user", after_version=after)
        async for change in changes:
            seen.append(change.item.version)
            if change.item.version == 3:
                break
        await changes.aclose()
    assert seen == expected
    assert servicer.resumed == [version - 1 for version in expected]
