"""The use case of a digest's workers: collect, and send what was collected.

Nothing is kept between the steps, and each may be done again: items and windows are
named by ids, timers replace each other, and what a window becomes has one id.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    EVENT_KIND_EXPIRED,
    EVENT_KIND_SUPERSEDED,
    EventKind,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import (
    DigestClose,
    DigestFold,
    DigestStep,
    IntakeItem,
)
from clarion.router.cancelling import CancelMarks
from clarion.router.collapsing import COLLAPSE_KEY, SUPERSEDED, Collapsing
from clarion.router.digests.composing import compose, is_expired
from clarion.router.digests.folding import digested_event
from clarion.router.digests.table import Closing, DigestTable, Entry, Window
from clarion.runtime import chunks
from clarion.runtime.clock import Clock
from clarion.runtime.ids import event_id
from clarion.runtime.jetstream import Publisher, Scheduler
from clarion.runtime.streams import (
    DIGEST,
    INTAKE,
    due_subject,
    events_subject,
    later_subject,
    work_subject,
)

_AT_ONCE = 50
"""Timers that are set at the same time."""
_MOST_ITEMS = 256
_MOST_BYTES = 700_000


class Digests:
    """Collects notifications and sends digests."""

    def __init__(
        self,
        table: DigestTable,
        marks: CancelMarks,
        collapsing: Collapsing,
        publisher: Publisher,
        scheduler: Scheduler,
        clock: Clock,
    ) -> None:
        self._table = table
        self._marks = marks
        self._collapsing = collapsing
        self._publisher = publisher
        self._scheduler = scheduler
        self._clock = clock

    async def take(self, steps: Sequence[DigestStep]) -> None:
        """Returns when all of it is stored. Raises TransientError."""
        folds = [step.fold for step in steps if step.HasField("fold")]
        if folds:
            await self.collect(folds)
        over = {step.close.window_id for step in steps if step.HasField("close")}
        if over:
            await self.close(sorted(over))

    async def collect(self, folds: Sequence[DigestFold]) -> None:
        """Puts each into its window, sets the timers and tells where each went."""
        now = self._clock.now()
        entries = [Entry.of(fold) for fold in folds]
        collected = await self._table.collect(entries, now)
        await _all(self.set_timer(window) for window in collected.timers.values())
        stamp = Timestamp()
        stamp.FromDatetime(now)
        told = []
        for entry in entries:
            window = collected.places[entry.key]
            closes = Timestamp()
            closes.FromDatetime(window.closes)
            told.append(digested_event(entry.fold, window.window_id, closes, stamp))
        await self._tell(told)

    async def set_timer(self, window: Window) -> None:
        """Has the window looked at when it closes; takes the place of an earlier one.

        What is due is looked at at once.
        """
        close = DigestClose(tenant_id=window.tenant, window_id=window.window_id)
        await self._scheduler.schedule(
            later_subject(DIGEST, window.tenant, window.window_id),
            target=due_subject(DIGEST, window.lane),
            due=window.closes,
            body=chunks.join([DigestStep(close=close).SerializeToString()]),
            # A new one every time: the stream remembers ids, also of what has fired.
            message_id=f"{window.window_id}:{uuid.uuid4().hex}",
        )

    async def close(self, window_ids: Sequence[str]) -> None:
        """Sends what windows hold whose time has come and that are not sent."""
        found = await self._table.close(window_ids, self._clock.now())
        # These timers were set before the window moved; the later ones may be lost.
        early = [window for window in found.values() if isinstance(window, Window)]
        await _all(self.set_timer(window) for window in early)
        closings = {id: one for id, one in found.items() if isinstance(one, Closing)}
        if closings:
            await self._send(closings)
            await self._table.sent(list(closings), self._clock.now())

    async def _send(self, closings: Mapping[str, Closing]) -> None:
        by_tenant: dict[str, list[IntakeItem]] = defaultdict(list)
        for closing in closings.values():
            for fold in closing.folds:
                by_tenant[fold.item.tenant_id].append(fold.item)
        cancelled: set[str] = set()
        superseded: set[str] = set()
        for tenant, items in by_tenant.items():
            # A cancel that came before its notification was here left only its mark.
            ids = [item.notification_id for item in items]
            cancelled |= await self._marks.marked(tenant, ids)
            superseded |= await self._collapsing.superseded(items)
        told: list[NotificationEvent] = []
        by_subject: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for window_id, closing in closings.items():
            kept: list[DigestFold] = []
            stamp = Timestamp()
            stamp.FromDatetime(closing.closed)
            for fold in closing.folds:
                if fold.item.notification_id in cancelled:
                    told += _ended(fold, EVENT_KIND_CANCELLED, "cancelled", stamp)
                elif fold.item.notification_id in superseded:
                    told += _ended(fold, EVENT_KIND_SUPERSEDED, SUPERSEDED, stamp)
                elif is_expired(fold, closing.closed):
                    told += _ended(fold, EVENT_KIND_EXPIRED, "expired", stamp)
                else:
                    kept.append(fold)
            if kept:
                item = compose(window_id, kept, closing.closed)
                encoded = item.SerializeToString(deterministic=True)
                subject = work_subject(INTAKE, item.notification.priority)
                by_subject[subject].append((item.notification_id, encoded))
        for subject, digests in by_subject.items():
            await self._publish(subject, digests)
        await self._tell(told)

    async def _tell(self, events: Sequence[NotificationEvent]) -> None:
        encoded = [(event.event_id, event.SerializeToString()) for event in events]
        await self._publish(events_subject("router"), encoded)

    async def _publish(self, subject: str, items: Sequence[tuple[str, bytes]]) -> None:
        for run in chunks.split(items, max_items=_MOST_ITEMS, max_bytes=_MOST_BYTES):
            await self._publisher.publish(
                subject,
                chunks.join(encoded for _, encoded in run),
                message_id=chunks.identity(subject, (id for id, _ in run)),
            )


def _ended(
    fold: DigestFold, kind: EventKind.ValueType, word: str, at: Timestamp
) -> Iterable[NotificationEvent]:
    """Tells of each channel that nothing is sent on it."""
    item = fold.item
    for channel in fold.channels:
        yield NotificationEvent(
            event_id=event_id(item.notification_id, word, "digest", channel),
            tenant_id=item.tenant_id,
            notification_id=item.notification_id,
            kind=kind,
            occurred_time=at,
            user_id=item.notification.user_id,
            type=item.notification.type,
            channel=channel,
            reason=COLLAPSE_KEY if kind == EVENT_KIND_SUPERSEDED else word,
        )


async def _all(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Waits for all of them, some at a time, then raises the first failure."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(step: Coroutine[Any, Any, None]) -> None:
        async with turn:
            await step

    outcomes = await asyncio.gather(*(one(s) for s in steps), return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
