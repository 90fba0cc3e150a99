"""The use case of giving what is scheduled another time.

The schedule is replaced only as it was found, so of a change and a firing exactly one
wins, and of two changes the one that is answered last stands.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_SCHEDULED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router.admission import AdmissionLimits, judge_times, seconds
from clarion.router.cancelling import CancelMarks
from clarion.router.naming import KnownKeys, Named
from clarion.router.releasing import release_subject
from clarion.router.storing import ACCEPTED, SCHEDULED
from clarion.runtime import chunks
from clarion.runtime.clock import Clock
from clarion.runtime.errors import (
    FieldViolation,
    InvalidArgumentError,
    NotFoundError,
    PreconditionError,
)
from clarion.runtime.ids import event_id
from clarion.runtime.jetstream import (
    GroupPublisher,
    Rescheduler,
    ScheduleGoneError,
    Waiting,
)
from clarion.runtime.streams import INTAKE, later_subject


class State(Enum):
    """What became of a notification that cannot be rescheduled. In error metadata."""

    SENT = "sent"
    CANCELLED = "cancelled"
    DEFERRED = "deferred"


_REMEDIES = {
    State.SENT: "it fell due and is on its way: cancel what is not sent yet, or send "
    "another notification",
    State.CANCELLED: "it was cancelled: send another notification",
    State.DEFERRED: "it fell due and waits for the end of quiet hours, of a window or "
    "of a limit: cancel it and send another notification",
}


class Rescheduling:
    """Reschedules notifications."""

    def __init__(
        self,
        rescheduler: Rescheduler,
        marks: CancelMarks,
        keys: KnownKeys,
        events: GroupPublisher[bytes],
        limits: AdmissionLimits,
        clock: Clock,
    ) -> None:
        self._rescheduler = rescheduler
        self._marks = marks
        self._keys = keys
        self._events = events
        self._limits = limits
        self._clock = clock

    async def reschedule(self, tenant: str, named: Named, at: Timestamp) -> str:
        """SCHEDULED, or ACCEPTED where the new time is not ahead.

        Repeating it is safe: what has that time already is told once more under the
        same id. Raises InvalidArgumentError, NotFoundError, PreconditionError and
        UnavailableError.
        """
        now = self._clock.now()
        subject = later_subject(INTAKE, tenant, named.notification_id)
        waiting = await self._rescheduler.find(subject)
        is_known = waiting is not None
        while waiting is not None:
            (item,) = IntakeChunk.FromString(waiting.body).items
            wrong = objections(item.notification, at, self._limits, now)
            if wrong:
                raise InvalidArgumentError(violations=wrong)
            try:
                sequence = await self._replaced(waiting, item, at)
            except ScheduleGoneError:
                # Another change was first: this one is made on top of it.
                before, waiting = waiting, await self._rescheduler.find(subject)
                if waiting is not None and waiting.sequence == before.sequence:
                    break
                continue
            await self._tell(item, now, sequence)
            return SCHEDULED if seconds(at) > now.timestamp() else ACCEPTED
        raise await self._why_not(tenant, named, is_known=is_known)

    async def _tell(self, item: IntakeItem, now: datetime, sequence: int) -> None:
        event = _event(item, now, sequence).SerializeToString()
        await self._events.submit(event, len(event))

    async def _replaced(self, waiting: Waiting, item: IntakeItem, at: Timestamp) -> int:
        if item.notification.scheduled_at == at:
            return waiting.sequence
        item.notification.scheduled_at.CopyFrom(at)
        return await self._rescheduler.replace(
            waiting,
            at.ToDatetime(UTC),
            chunks.join([item.SerializeToString(deterministic=True)]),
        )

    async def _why_not(
        self, tenant: str, named: Named, *, is_known: bool
    ) -> NotFoundError | PreconditionError:
        id = named.notification_id
        if await self._marks.is_marked(tenant, id):
            return _refusal(State.CANCELLED)
        if await self._rescheduler.find(release_subject(tenant, id)) is not None:
            return _refusal(State.DEFERRED)
        if not is_known and named.idempotency_key:
            is_known = await self._keys.is_known(tenant, id)
        if is_known:
            return _refusal(State.SENT)
        return NotFoundError(
            "nothing is scheduled under that name: it was sent already, or there was "
            "none; ask for its state with GetNotification",
            metadata={
                "resource": "scheduled notification",
                "id": named.idempotency_key or id,
            },
        )


def objections(
    notification: Notification, at: Timestamp, limits: AdmissionLimits, now: datetime
) -> list[FieldViolation]:
    """What stands against that time for a notification that was accepted. Pure."""
    found: list[FieldViolation] = []

    def object_to(field: str, description: str, rule: str) -> None:
        if field == "expires_at":
            expiry = notification.expires_at.ToJsonString()
            description = f"must lie before the notification's expires_at, {expiry}"
            rule = "scheduled_at.expired"
        found.append(FieldViolation("scheduled_at", description, rule))

    changed = Notification(scheduled_at=at)
    if notification.HasField("expires_at"):
        changed.expires_at.CopyFrom(notification.expires_at)
    judge_times(changed, limits.max_schedule, now, object_to)
    return found


def _refusal(state: State) -> PreconditionError:
    return PreconditionError(
        f"it cannot be rescheduled any more: {_REMEDIES[state]}",
        metadata={"state": state.value},
    )


def _event(item: IntakeItem, now: datetime, sequence: int) -> NotificationEvent:
    """SCHEDULED, told anew: each version of the schedule has an event of its own."""
    event = NotificationEvent(
        event_id=event_id(item.notification_id, SCHEDULED, str(sequence)),
        tenant_id=item.tenant_id,
        notification_id=item.notification_id,
        kind=EVENT_KIND_SCHEDULED,
        user_id=item.notification.user_id,
        type=item.notification.type,
        reason="rescheduled",
    )
    # Not before it was accepted, whatever the clocks of two routers say.
    told = max(now, item.accepted_time.ToDatetime(UTC) + timedelta(microseconds=1))
    event.occurred_time.FromDatetime(told)
    event.postponed.due_time.CopyFrom(item.notification.scheduled_at)
    event.postponed.notification.CopyFrom(item.notification)
    if not item.HasField("broadcast"):
        # As when it was stored: what is accepted is its subscribers' notifications.
        event.postponed.accepted_time.CopyFrom(item.accepted_time)
    return event
