"""The use case of cancelling: remove what is scheduled, mark what is queued."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    NotificationEvent,
)
from clarion.runtime.clock import Clock
from clarion.runtime.ids import event_id
from clarion.runtime.jetstream import GroupPublisher, Scheduler
from clarion.runtime.keys import cancelled_key
from clarion.runtime.streams import INTAKE, later_subject
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

CANCELLED = "cancelled"
CANCELLING = "cancelling"


class CancelMarks(Protocol):
    """Tells the channels what not to send any more."""

    async def mark(self, tenant: str, notification_id: str) -> None:
        """Raises UnavailableError when it could not be marked."""
        ...


class ValkeyCancelMarks:
    """Implements CancelMarks; the claim of every delivery looks at the mark."""

    def __init__(self, valkey: Redis, window: timedelta) -> None:
        self._valkey = valkey
        self._window = window

    async def mark(self, tenant: str, notification_id: str) -> None:
        with redis_errors():
            await self._valkey.set(
                cancelled_key(tenant, notification_id), "1", px=self._window
            )


class Cancellation:
    """Cancels notifications."""

    def __init__(
        self,
        scheduler: Scheduler,
        marks: CancelMarks,
        events: GroupPublisher[bytes],
        clock: Clock,
    ) -> None:
        self._scheduler = scheduler
        self._marks = marks
        self._events = events
        self._clock = clock

    async def cancel(self, tenant: str, notification_id: str) -> str:
        """CANCELLED when it was still scheduled, CANCELLING when it may be under way.

        The mark comes first: what fires between the two steps is stopped by it.
        Raises UnavailableError; repeating is safe.
        """
        await self._marks.mark(tenant, notification_id)
        removed = await self._scheduler.cancel(
            later_subject(INTAKE, tenant, notification_id)
        )
        if not removed:
            return CANCELLING
        event = NotificationEvent(
            event_id=event_id(notification_id, CANCELLED),
            tenant_id=tenant,
            notification_id=notification_id,
            kind=EVENT_KIND_CANCELLED,
        )
        event.occurred_time.FromDatetime(self._clock.now())
        encoded = event.SerializeToString()
        await self._events.submit(encoded, len(encoded))
        return CANCELLED
