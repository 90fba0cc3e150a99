"""What the windows of digests hold: the port, and how items are spread over windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import NamedTuple, Protocol

from clarion.api.event.v1.work_pb2 import DigestFold
from clarion.router.digests.composing import size_of
from clarion.router.digests.folding import bucket_of
from clarion.router.digests.windows import MOST_BYTES, MOST_ITEMS, Span, read

Key = tuple[str, str, int]
"""Tenant, notification and release: what names a decision."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A notification that is to be collected."""

    fold: DigestFold
    bucket: str
    size: int

    @classmethod
    def of(cls, fold: DigestFold) -> Entry:
        """With what is derived from it."""
        return cls(fold, bucket_of(fold), size_of(fold))

    @property
    def key(self) -> Key:
        item = self.fold.item
        return item.tenant_id, item.notification_id, item.release

    @property
    def accepted(self) -> datetime:
        return self.fold.item.accepted_time.ToDatetime(UTC)


class Window(NamedTuple):
    """A window and when it closes."""

    tenant: str
    window_id: str
    lane: str
    closes: datetime


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of a batch."""

    places: Mapping[Key, Window]
    """Where each item is, also one that was there before."""
    timers: Mapping[str, Window]
    """By window id: what has to be looked at when it closes. With every window that an
    item was in before: whoever put it there may have died before setting its timer."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A window that takes nothing more and is not marked as sent."""

    closed: datetime
    folds: Sequence[DigestFold]
    """In the order in which they were accepted, without cancelled ones."""


class DigestTable(Protocol):
    """The windows of all tenants. Every call is one transaction.

    Raises UnavailableError while the table does not answer.
    """

    async def collect(self, entries: Sequence[Entry], now: datetime) -> Collected:
        """Puts each into the open window of its bucket; what is known stays there."""
        ...

    async def close(
        self, window_ids: Sequence[str], now: datetime
    ) -> Mapping[str, Closing | Window]:
        """Closes the windows whose time has come and reads them.

        The window itself where it is too early, nothing where it is sent. What was
        closed before and is not marked as sent is read again, the same.
        """
        ...

    async def sent(self, window_ids: Sequence[str], now: datetime) -> None:
        """Marks closed windows as sent."""
        ...

    async def remove(self, tenant: str, notification_id: str) -> int:
        """Takes a notification out of what is open; how many items there were."""
        ...

    async def overdue(self, before: datetime, most: int) -> Sequence[Window]:
        """Windows that were to close before then and are not sent, the oldest first."""
        ...

    async def prune(self, before: datetime, most: int) -> int:
        """Forgets windows that were sent before then, with their items."""
        ...


@dataclass(slots=True)
class Filling:
    """The items of one bucket that wait for a window."""

    bucket: str
    waiting: list[Entry] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        return self.waiting[0].fold.item.tenant_id

    @property
    def lane(self) -> str:
        return self.waiting[0].fold.priority

    def span(self, now: datetime) -> Span:
        """The window that they open, were there none."""
        spans = [read(entry.fold).span(now) for entry in self.waiting]
        return reduce(Span.joined, spans)

    @property
    def moves(self) -> bool:
        """Whether they move the end of a window that is there."""
        return any(entry.fold.HasField("longest") for entry in self.waiting)

    def take(self, is_over: bool, items: int, size: int) -> tuple[list[Entry], bool]:
        """Takes out what a window has room for; and whether it is full with that."""
        count = 0
        for entry in self.waiting:
            if is_over or items + count >= MOST_ITEMS:
                break
            if items + count and size + entry.size > MOST_BYTES:
                break
            count += 1
            size += entry.size
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken, bool(self.waiting) or items + count >= MOST_ITEMS


def fillings(entries: Sequence[Entry]) -> dict[str, Filling]:
    """The buckets of a batch, each with its items in the order in which they came in.

    Sorted, so that all workers take them in one order.
    """
    found: dict[str, Filling] = {}
    for entry in sorted(entries, key=lambda entry: (entry.accepted, entry.key)):
        found.setdefault(entry.bucket, Filling(entry.bucket)).waiting.append(entry)
    return {bucket: found[bucket] for bucket in sorted(found)}
