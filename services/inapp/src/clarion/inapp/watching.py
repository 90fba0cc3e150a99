"""The use case of watching: every change after a version, in order, without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from clarion.api.inapp.v1.inbox_service_pb2 import WatchInboxResponse
from clarion.inapp.inbox import Inbox, Owner
from clarion.inapp.live import LiveChanges
from clarion.runtime.errors import OverloadedError

_PAGE = 200
_RETRY_WHEN_FULL = timedelta(seconds=5)


class Watches:
    """Serves watches until ``stopping`` is set."""

    def __init__(
        self,
        inbox: Inbox,
        live: LiveChanges,
        *,
        heartbeat: timedelta,
        most: int,
        stopping: asyncio.Event,
    ) -> None:
        self._inbox = inbox
        self._live = live
        self._heartbeat = heartbeat.total_seconds()
        self._most = most
        self._stopping = stopping
        self._open = 0

    async def follow(
        self, owner: Owner, after: int | None
    ) -> AsyncIterator[WatchInboxResponse | None]:
        """Changes as they come; None when nothing came for a heartbeat.

        Without ``after`` it begins now. Ends when the service stops. Raises
        OverloadedError over the limit of watches and UnavailableError.
        """
        if self._open >= self._most:
            raise OverloadedError(
                "this process serves no more watches", retry_after=_RETRY_WHEN_FULL
            )
        self._open += 1
        try:
            # Listening first: what changes while the inbox is read is not missed.
            with self._live.watch(owner) as changed:
                at = await self._inbox.version(owner) if after is None else after
                while not self._stopping.is_set():
                    changed.clear()
                    items, counts = await self._inbox.changes(owner, at, _PAGE)
                    for item in items:
                        at = item.version
                        yield WatchInboxResponse(item=item, counts=counts)
                    if len(items) < _PAGE and not await self._changed(changed):
                        yield None
        finally:
            self._open -= 1

    async def _changed(self, changed: asyncio.Event) -> bool:
        """Waits for a change or the end; False when the heartbeat came first."""
        waits = [
            asyncio.create_task(changed.wait()),
            asyncio.create_task(self._stopping.wait()),
        ]
        try:
            done, _ = await asyncio.wait(
                waits, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED
            )
            return bool(done)
        finally:
            for wait in waits:
                wait.cancel()
