"""The use case of the front door: a notification is stored durably and gets its id.

Needs the stream and nothing else. While Valkey does not answer, idempotency keys still
fold repetitions by their ids; only another body under a used key goes unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_SCHEDULED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router import metrics
from clarion.router.admission import AdmissionLimits, objections
from clarion.router.idempotency import IdempotencyKeys, KeyedBody, Use, digest_of
from clarion.router.notification_types import policy_for
from clarion.runtime import chunks
from clarion.runtime.caller import Caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import (
    ClarionError,
    IdempotencyKeyReusedError,
    InvalidArgumentError,
    OverloadedError,
    UnavailableError,
)
from clarion.runtime.ids import event_id, notification_id_for_key, uuid7
from clarion.runtime.jetstream import GroupPublisher, Scheduler
from clarion.runtime.streams import INTAKE, due_subject, later_subject
from clarion.runtime.tracing import current_traceparent
from clarion.runtime.validation import violations

ACCEPTED = "accepted"
SCHEDULED = "scheduled"
_RETRY_WHEN_FULL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored notification."""

    notification_id: str
    status: str


@dataclass(slots=True)
class _Entry:
    """One notification on its way in."""

    item: IntakeItem
    priority: str
    is_scheduled: bool
    keyed: KeyedBody | None = None
    is_stored: bool = False
    error: ClarionError | None = None

    @property
    def answer(self) -> Accepted | ClarionError:
        if self.error is not None:
            return self.error
        status = SCHEDULED if self.is_scheduled else ACCEPTED
        return Accepted(self.item.notification_id, status)


class Acceptance:
    """Accepts notifications."""

    def __init__(
        self,
        lanes: Mapping[str, GroupPublisher[bytes]],
        events: GroupPublisher[bytes],
        scheduler: Scheduler,
        keys: IdempotencyKeys,
        limits: AdmissionLimits,
        clock: Clock,
    ) -> None:
        self._lanes = lanes
        self._events = events
        self._scheduler = scheduler
        self._keys = keys
        self._limits = limits
        self._clock = clock

    async def accept(self, notification: Notification, caller: Caller) -> Accepted:
        """Stores one notification, whose contract rules have been checked.

        Raises InvalidArgumentError, IdempotencyKeyReusedError, OverloadedError when the
        stream is full and UnavailableError when it does not answer.
        """
        now = self._clock.now()
        wrong = objections(notification, self._limits, now, "notification")
        if wrong:
            metrics.record_refused("invalid_argument")
            raise InvalidArgumentError(violations=wrong)
        entry = self._entry(notification, caller, now)
        await self._store([entry])
        if isinstance(entry.answer, ClarionError):
            raise entry.answer
        return entry.answer

    async def accept_all(
        self, notifications: Sequence[Notification], caller: Caller
    ) -> list[Accepted | ClarionError]:
        """Stores what can be stored and answers each, in order.

        Raises OverloadedError and UnavailableError for the whole, when the stream
        refuses or does not answer.
        """
        now = self._clock.now()
        answers: list[_Entry | ClarionError] = []
        for index, notification in enumerate(notifications):
            path = f"notifications[{index}]"
            wrong = violations(notification, path) or objections(
                notification, self._limits, now, path
            )
            if wrong:
                metrics.record_refused("invalid_argument")
                answers.append(InvalidArgumentError(violations=wrong))
            else:
                answers.append(self._entry(notification, caller, now))
        await self._store([entry for entry in answers if isinstance(entry, _Entry)])
        return [
            entry.answer if isinstance(entry, _Entry) else entry for entry in answers
        ]

    def _entry(
        self, notification: Notification, caller: Caller, now: datetime
    ) -> _Entry:
        key = notification.idempotency_key
        if key:
            notification_id = notification_id_for_key(caller.tenant, key)
        else:
            notification_id = uuid7(now)
        item = IntakeItem(
            notification_id=notification_id,
            tenant_id=caller.tenant,
            notification=notification,
            trace_parent=current_traceparent(),
            key_id=caller.key_id,
        )
        item.accepted_time.FromDatetime(now)
        due = notification.scheduled_at
        return _Entry(
            item=item,
            priority=notification.priority or policy_for(notification.type).priority,
            is_scheduled=notification.HasField("scheduled_at")
            and due.seconds + due.nanos / 1e9 > now.timestamp(),
            keyed=KeyedBody(caller.tenant, notification_id, digest_of(notification))
            if key
            else None,
        )

    async def _store(self, entries: Sequence[_Entry]) -> None:
        await self._reserve(entries)
        wanted = [e for e in entries if e.error is None and not e.is_stored]
        try:
            await asyncio.gather(
                *(self._schedule(entry) for entry in wanted if entry.is_scheduled),
                *(
                    self._publish(lane, [e for e in wanted if e.priority == lane])
                    for lane in self._lanes
                ),
            )
        except OverloadedError as error:
            metrics.record_refused("overloaded", len(wanted))
            await self._settle(wanted, stored=False)
            error.retry_after = error.retry_after or _RETRY_WHEN_FULL
            raise
        await self._settle(wanted, stored=True)
        for entry in wanted:
            metrics.record_accepted(entry.priority, 1)

    async def _publish(self, lane: str, entries: Sequence[_Entry]) -> None:
        encoded = [e.item.SerializeToString() for e in entries if not e.is_scheduled]
        if encoded:
            await self._lanes[lane].submit_all((item, len(item)) for item in encoded)

    async def _schedule(self, entry: _Entry) -> None:
        item = entry.item
        await self._scheduler.schedule(
            later_subject(INTAKE, item.tenant_id, item.notification_id),
            target=due_subject(INTAKE, entry.priority),
            due=item.notification.scheduled_at.ToDatetime(self._clock.now().tzinfo),
            body=chunks.join([item.SerializeToString()]),
            message_id=item.notification_id,
        )
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
        event.postponed.accepted_time.CopyFrom(item.accepted_time)
        encoded = event.SerializeToString()
        await self._events.submit(encoded, len(encoded))

    async def _reserve(self, entries: Sequence[_Entry]) -> None:
        keyed = [(entry, entry.keyed) for entry in entries if entry.keyed is not None]
        if not keyed:
            return
        try:
            uses = await self._keys.reserve([body for _, body in keyed])
        except UnavailableError:
            return  # ids still fold repetitions
        for (entry, _), use in zip(keyed, uses, strict=True):
            if use is Use.REUSED:
                metrics.record_refused("idempotency_key_reused")
                entry.error = IdempotencyKeyReusedError(
                    "this idempotency_key was used with another body: use a new key",
                    metadata={
                        "idempotency_key": entry.item.notification.idempotency_key,
                        "notification_id": entry.item.notification_id,
                    },
                )
            entry.is_stored = use is Use.STORED

    async def _settle(self, entries: Sequence[_Entry], *, stored: bool) -> None:
        bodies = [entry.keyed for entry in entries if entry.keyed is not None]
        if not bodies:
            return
        try:
            await (self._keys.confirm if stored else self._keys.forget)(bodies)
        except UnavailableError:
            return  # a reservation runs out by itself
