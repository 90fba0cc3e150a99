"""Calls about people's inboxes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING

import grpc

from clarion.api.inapp.v1.inbox_service_pb2 import (
    ListInboxRequest,
    ListInboxResponse,
    WatchInboxRequest,
    WatchInboxResponse,
)
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.client.calls.connection import (
    FIRST_WAIT,
    LONGEST_WAIT,
    Connection,
    may_pass,
)
from clarion.client.errors import ApiError

if TYPE_CHECKING:
    from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceAsyncStub


class InboxCalls(Connection):
    """What the in-app channel delivered."""

    @cached_property
    def _inbox(self) -> InboxServiceAsyncStub:
        return InboxServiceStub(self._channel)

    async def inbox(
        self, user_id: str, *, page_size: int = 50, page_token: str = ""
    ) -> ListInboxResponse:
        """One page of a person's inbox."""
        request = ListInboxRequest(
            user_id=user_id, page_size=page_size, page_token=page_token
        )
        return await self._call(self._inbox.ListInbox, request)

    async def watch_inbox(
        self, user_id: str, *, after_version: int | None = None
    ) -> AsyncIterator[WatchInboxResponse]:
        """Every change of a person's inbox, without a gap; reconnects by itself."""
        version = after_version
        if version is None:
            # Known before watching, so that a reconnect begins there and not later.
            version = (await self.inbox(user_id, page_size=1)).counts.version
        wait = FIRST_WAIT
        while True:
            call = self._inbox.WatchInbox(
                WatchInboxRequest(user_id=user_id, after_version=version),
                metadata=self._metadata,
            )
            try:
                async for change in call:
                    # The counts are of now, even while older changes are replayed.
                    version, wait = change.item.version, FIRST_WAIT
                    yield change
            except grpc.aio.AioRpcError as error:
                failure = ApiError.of_call(error)
                if not may_pass(failure):
                    raise failure from error
            await asyncio.sleep(wait * random.random())
            wait = min(wait * 2, LONGEST_WAIT)
