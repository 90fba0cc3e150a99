"""Wakes those who wait for the first event of a notification."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager


class Arrivals:
    """Told by the writer what was stored; within one process."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, set[asyncio.Event]] = {}

    @contextmanager
    def of(self, notification_id: bytes) -> Iterator[asyncio.Event]:
        """An event that is set when something about the notification is stored."""
        arrived = asyncio.Event()
        self._waiting.setdefault(notification_id, set()).add(arrived)
        try:
            yield arrived
        finally:
            waiting = self._waiting[notification_id]
            waiting.discard(arrived)
            if not waiting:
                del self._waiting[notification_id]

    def announce(self, notification_ids: Collection[bytes]) -> None:
        """Something about these was stored and is committed."""
        if not self._waiting:
            return
        for notification_id in self._waiting.keys() & set(notification_ids):
            for arrived in self._waiting[notification_id]:
                arrived.set()
