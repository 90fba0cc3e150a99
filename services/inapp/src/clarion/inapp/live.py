"""Who is told when an inbox changes: NATS core, from every process to every watch.

A hint only: it may be lost or come twice. Watches look at the inbox itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clarion.inapp.inbox import Owner

if TYPE_CHECKING:
    from clarion.runtime.jetstream import Streams

SUBJECT = "inbox.changed"
_SEPARATOR = "\x1f"


class LiveChanges:
    """Publishes and receives hints; one subscription for all watches of a process."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._watches: dict[Owner, set[asyncio.Event]] = defaultdict(set)

    async def start(self) -> None:
        """Subscribes; nats-py subscribes again by itself after a reconnect."""
        await self._streams.nc.subscribe(SUBJECT, cb=self._received)

    async def publish(self, owners: Iterable[Owner]) -> None:
        """Tells every process; does not wait for any."""
        text = "\n".join(f"{o.tenant}{_SEPARATOR}{o.user_id}" for o in owners)
        if text and self._streams.is_connected:
            await self._streams.nc.publish(SUBJECT, text.encode())

    @contextmanager
    def watch(self, owner: Owner) -> Iterator[asyncio.Event]:
        """An event that is set whenever the inbox may have changed."""
        changed = asyncio.Event()
        self._watches[owner].add(changed)
        try:
            yield changed
        finally:
            watches = self._watches[owner]
            watches.discard(changed)
            if not watches:
                del self._watches[owner]

    async def _received(self, message: Any) -> None:
        if not self._watches:
            return
        for line in message.data.decode().split("\n"):
            tenant, _, user_id = line.partition(_SEPARATOR)
            for changed in self._watches.get(Owner(tenant, user_id), ()):
                changed.set()
