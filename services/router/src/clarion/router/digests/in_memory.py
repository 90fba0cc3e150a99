"""The double of the table, with the same rules."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from clarion.router.digests.table import (
    Closing,
    Collected,
    Entry,
    Key,
    Window,
    fillings,
)
from clarion.router.digests.windows import Span


@dataclass
class Held:
    """A window in memory."""

    tenant: str
    window_id: str
    bucket: str
    lane: str
    opened: datetime
    span: Span
    state: int = 0
    closed: datetime | None = None
    sent: datetime | None = None
    entries: list[Entry] = field(default_factory=list)

    @property
    def window(self) -> Window:
        return Window(self.tenant, self.window_id, self.lane, self.span.closes)


class InMemoryDigestTable:
    """Implements DigestTable. Set ``error`` to make every call raise it."""

    def __init__(self) -> None:
        self.windows: dict[str, Held] = {}
        self.items: dict[Key, str] = {}
        self.cancelled: set[Key] = set()
        self.error: Exception | None = None

    async def collect(self, entries: Sequence[Entry], now: datetime) -> Collected:
        self._called()
        timers: dict[str, Window] = {}
        new = {e.key: e for e in reversed(entries) if e.key not in self.items}
        for filling in fillings(list(new.values())).values():
            while filling.waiting:
                held = self._open(filling.bucket)
                span, moves = filling.span(now), filling.moves
                is_new = held is None
                if held is None:
                    id = str(uuid.uuid4())
                    held = self.windows[id] = Held(
                        filling.tenant, id, filling.bucket, filling.lane, now, span
                    )
                elif held.span.closes > now:
                    held.span = held.span.joined(span)
                size = sum(entry.size for entry in held.entries)
                is_over = held.span.closes <= now
                taken, is_full = filling.take(is_over, len(held.entries), size)
                held.entries += taken
                self.items |= {entry.key: held.window_id for entry in taken}
                if is_full:
                    held.state, held.closed = 1, now
                    closes = min(held.span.closes, now)
                    held.span = Span(closes, held.span.latest)
                if is_full or moves or is_new:
                    timers[held.window_id] = held.window
        places = {e.key: self.windows[self.items[e.key]].window for e in entries}
        for key, window in places.items():
            if key not in new and self.windows[window.window_id].state < 2:
                timers[window.window_id] = window
        return Collected(places, timers)

    async def close(
        self, window_ids: Sequence[str], now: datetime
    ) -> Mapping[str, Closing | Window]:
        self._called()
        closed = {id: self._close(id, now) for id in window_ids}
        return {id: found for id, found in closed.items() if found is not None}

    def _close(self, window_id: str, now: datetime) -> Closing | Window | None:
        held = self.windows.get(window_id)
        if held is None or held.state == 2:
            return None
        if held.state == 0:
            if held.span.closes > now:
                return held.window
            held.state, held.closed = 1, now
        assert held.closed is not None
        kept = [entry for entry in held.entries if entry.key not in self.cancelled]
        kept.sort(key=lambda entry: entry.accepted)
        return Closing(held.closed, [entry.fold for entry in kept])

    async def sent(self, window_ids: Sequence[str], now: datetime) -> None:
        self._called()
        for held in map(self.windows.__getitem__, window_ids):
            if held.state == 1:
                held.state, held.sent = 2, now

    async def remove(self, tenant: str, notification_id: str) -> int:
        self._called()
        gone = {
            key
            for key, window_id in self.items.items()
            if key[:2] == (tenant, notification_id)
            and self.windows[window_id].state == 0
            and key not in self.cancelled
        }
        self.cancelled |= gone
        return len(gone)

    async def overdue(self, before: datetime, most: int) -> Sequence[Window]:
        self._called()
        late = [
            held.window
            for held in self.windows.values()
            if held.state < 2 and held.span.closes < before
        ]
        return sorted(late, key=lambda window: window.closes)[:most]

    async def prune(self, before: datetime, most: int) -> int:
        self._called()
        old = [
            id
            for id, held in self.windows.items()
            if held.sent is not None and held.sent < before
        ][:most]
        for id in old:
            del self.windows[id]
        self.items = {k: id for k, id in self.items.items() if id in self.windows}
        return len(old)

    def _open(self, bucket: str) -> Held | None:
        for held in self.windows.values():
            if held.bucket == bucket and held.state == 0:
                return held
        return None

    def _called(self) -> None:
        if self.error is not None:
            raise self.error
