"""Storing notifications: on their lane or for later, each key for one body.

Needs the stream and nothing else. While Valkey does not answer, idempotency keys still
fold repetitions by their ids; only another body under a used key goes unnoticed, and
what is accepted meanwhile of an ordered type takes its place when it is decided.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_SCHEDULED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router import metrics
from clarion.router.idempotency import (
    IdempotencyKeys,
    InMemoryIdempotencyKeys,
    KeyedBody,
    Use,
)
from clarion.router.ordering import InMemoryTurns, Turns
from clarion.router.overflowing import Overflow
from clarion.router.riding import Riding
from clarion.runtime import chunks
from clarion.runtime.errors import (
    ClarionError,
    IdempotencyKeyReusedError,
    OverloadedError,
    UnavailableError,
)
from clarion.runtime.ids import event_id
from clarion.runtime.jetstream import GroupPublisher, Scheduler
from clarion.runtime.pacing import Governor
from clarion.runtime.streams import INTAKE, due_subject, later_subject

ACCEPTING = 0.15
"""What accepting one costs the process, as a part of what it costs to route one."""
ACCEPTED = "accepted"
SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored notification."""

    notification_id: str
    status: str


@dataclass(slots=True)
class Entry:
    """One notification on its way in."""

    notification_id: str
    encoded: bytes
    """The IntakeItem as it is stored: most entries need no more of it."""
    lane: str
    is_scheduled: bool
    keyed: KeyedBody | None = None
    is_stored: bool = False
    error: ClarionError | None = None
    is_ordered: bool = False
    """Whether it takes its place in an order before it is stored."""

    @property
    def item(self) -> IntakeItem:
        """What is stored, decoded anew."""
        return IntakeItem.FromString(self.encoded)

    @property
    def answer(self) -> Accepted | ClarionError:
        if self.error is not None:
            return self.error
        status = SCHEDULED if self.is_scheduled else ACCEPTED
        return Accepted(self.notification_id, status)


class Store:
    """Stores notifications durably."""

    def __init__(
        self,
        lanes: Mapping[str, GroupPublisher[bytes]],
        events: GroupPublisher[bytes],
        scheduler: Scheduler,
        keys: IdempotencyKeys,
        turns: Turns | None = None,
        overflow: Overflow | None = None,
        riding: Riding | None = None,
        governor: Governor | None = None,
    ) -> None:
        self._governor = governor
        self._lanes = lanes
        self._overflow = overflow
        self._riding = riding
        self._events = events
        self._scheduler = scheduler
        self._keys = keys
        self._turns = turns or InMemoryTurns()

    async def put(self, entries: Sequence[Entry]) -> None:
        """Stores what is new; every entry knows afterwards what became of it."""
        if self._governor is not None:
            self._governor.beside(ACCEPTING * len(entries))
        await self._reserve(entries)
        firsts: dict[str, Entry] = {}
        copies: list[tuple[Entry, Entry]] = []
        for entry in entries:
            if entry.error is None and not entry.is_stored:
                first = firsts.setdefault(entry.notification_id, entry)
                if first is not entry:
                    copies.append((entry, first))
        wanted = firsts.values()
        ordered = [entry.item for entry in wanted if entry.is_ordered]
        if ordered:
            with suppress(UnavailableError):  # the router makes up for it
                await self._turns.join(ordered)
        by_lane: dict[str, list[Entry]] = defaultdict(list)
        for entry in wanted:
            if not entry.is_scheduled:
                by_lane[entry.lane].append(entry)
        by_flow: Mapping[str, Sequence[Entry]] = by_lane
        if self._overflow is not None and by_lane:
            # All are of one request, and so of one tenant.
            by_flow = self._overflow.split(entries[0].item.tenant_id, by_lane)
        if self._riding is not None:
            by_flow = self._riding.together(by_flow)
        await asyncio.gather(
            *(self._schedule(entry) for entry in wanted if entry.is_scheduled),
            *(self._publish(flow, own) for flow, own in by_flow.items()),
        )
        for copy, first in copies:
            copy.error = first.error
        if ordered:
            await self._make_room(wanted)
        await self._settle([entry for entry in wanted if entry.is_stored])
        _count(wanted)

    async def _make_room(self, entries: Iterable[Entry]) -> None:
        """Nobody waits for what was refused; if it was stored, it takes its place."""
        refused = [e.item for e in entries if e.is_ordered and e.error is not None]
        if refused:
            with suppress(UnavailableError):
                await self._turns.leave(refused)

    async def _publish(self, flow: str, entries: Sequence[Entry]) -> None:
        items = [(entry.encoded, len(entry.encoded)) for entry in entries]
        try:
            await self._lanes[flow].submit_all(items)
        except ClarionError as error:
            await self._failed(entries, error)
        else:
            for entry in entries:
                entry.is_stored = True

    async def _schedule(self, entry: Entry) -> None:
        item = entry.item
        event = _scheduled_event(item).SerializeToString()
        try:
            await self._scheduler.schedule(
                later_subject(INTAKE, item.tenant_id, item.notification_id),
                target=due_subject(INTAKE, entry.lane),
                due=item.notification.scheduled_at.ToDatetime(UTC),
                body=chunks.join([entry.encoded]),
                message_id=item.notification_id,
            )
            # After it: what is told as scheduled is stored.
            await self._events.submit(event, len(event))
        except ClarionError as error:
            await self._failed([entry], error)
        else:
            entry.is_stored = True

    async def _failed(self, entries: Sequence[Entry], error: ClarionError) -> None:
        for entry in entries:
            entry.error = error
        # Of several some may be stored, and of a schedule all but its event: then the
        # key stays with this body until its reservation runs out.
        if isinstance(error, OverloadedError) and len(entries) == 1:
            keyed = entries[0].keyed
            if keyed is not None and not entries[0].is_scheduled:
                with suppress(UnavailableError):
                    await self._keys.forget([keyed])

    async def _reserve(self, entries: Sequence[Entry]) -> None:
        keyed = [(entry, entry.keyed) for entry in entries if entry.keyed is not None]
        if not keyed:
            return
        bodies = [body for _, body in keyed]
        try:
            uses = await self._keys.reserve(bodies)
        except UnavailableError:
            # Ids still fold repetitions; of other bodies only those of this request
            # are noticed.
            uses = await InMemoryIdempotencyKeys().reserve(bodies)
        for (entry, _), use in zip(keyed, uses, strict=True):
            if use is Use.REUSED:
                metrics.record_refused("idempotency_key_reused")
                entry.error = IdempotencyKeyReusedError(
                    "this idempotency_key was used with another body: use a new key",
                    metadata={
                        "idempotency_key": entry.item.notification.idempotency_key,
                        "notification_id": entry.notification_id,
                    },
                )
            entry.is_stored = use is Use.STORED

    async def _settle(self, stored: Sequence[Entry]) -> None:
        bodies = [entry.keyed for entry in stored if entry.keyed is not None]
        if bodies:
            with suppress(UnavailableError):  # a reservation runs out by itself
                await self._keys.confirm(bodies)


def _count(entries: Iterable[Entry]) -> None:
    accepted: Counter[str] = Counter()
    for entry in entries:
        if entry.error is None:
            accepted[entry.lane] += 1
        else:
            is_full = isinstance(entry.error, OverloadedError)
            metrics.record_refused("overloaded" if is_full else "unavailable")
    for lane, count in accepted.items():
        metrics.record_accepted(lane, count)


def _scheduled_event(item: IntakeItem) -> NotificationEvent:
    event = NotificationEvent(
        event_id=event_id(item.notification_id, SCHEDULED),
        tenant_id=item.tenant_id,
        notification_id=item.notification_id,
        kind=EVENT_KIND_SCHEDULED,
        occurred_time=item.accepted_time,
        user_id=item.notification.user_id,
        type=item.notification.type,
    )
    event.postponed.due_time.CopyFrom(item.notification.scheduled_at)
    event.postponed.notification.CopyFrom(item.notification)
    if not item.HasField("broadcast"):
        # What is counted as accepted is its subscribers' notifications.
        event.postponed.accepted_time.CopyFrom(item.accepted_time)
    return event
