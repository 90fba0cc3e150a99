"""What is told of a broadcast itself: how many subscribers it has reached.

Without it nobody could say whether a topic had anybody in it.
"""

from __future__ import annotations

from typing import Protocol

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    EVENT_KIND_SPREAD,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.cancelling import CANCELLED
from clarion.runtime.clock import Clock
from clarion.runtime.ids import event_id
from clarion.runtime.jetstream import GroupPublisher

_SPREAD = "spread"


class BroadcastEvents(Protocol):
    """Every call returns when it is stored, and raises TransientError."""

    async def spread(self, page: IntakeItem, reached: int, is_complete: bool) -> None:
        """The subscribers of a page have notifications; so many have by now."""
        ...

    async def cancelled(self, page: IntakeItem) -> None:
        """Who would be on the page and behind it is spared."""
        ...


class StoredBroadcastEvents:
    """Implements BroadcastEvents: a page that is told twice has one event."""

    def __init__(self, events: GroupPublisher[bytes], clock: Clock) -> None:
        self._events = events
        self._clock = clock

    async def spread(self, page: IntakeItem, reached: int, is_complete: bool) -> None:
        id, token = page.notification_id, page.broadcast.page_token
        event = self._event(page, event_id(id, _SPREAD, token))
        event.kind = EVENT_KIND_SPREAD
        event.spread.topic = page.broadcast.topic
        event.spread.subscribers = reached
        event.spread.is_complete = is_complete
        if not token:
            event.spread.notification.CopyFrom(page.notification)
        await self._store(event)

    async def cancelled(self, page: IntakeItem) -> None:
        # The id that the cancel's own event has, where it told one.
        event = self._event(page, event_id(page.notification_id, CANCELLED))
        event.kind = EVENT_KIND_CANCELLED
        await self._store(event)

    def _event(self, page: IntakeItem, id: str) -> NotificationEvent:
        event = NotificationEvent(
            event_id=id,
            tenant_id=page.tenant_id,
            notification_id=page.notification_id,
            type=page.notification.type,
        )
        event.occurred_time.FromDatetime(self._clock.now())
        return event

    async def _store(self, event: NotificationEvent) -> None:
        encoded = event.SerializeToString()
        await self._events.submit(encoded, len(encoded))


class InMemoryBroadcastEvents:
    """Implements BroadcastEvents for tests."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[int, bool]] = {}
        """By page token: (subscribers so far, whether these are all)."""
        self.was_cancelled = False

    async def spread(self, page: IntakeItem, reached: int, is_complete: bool) -> None:
        self.told.setdefault(page.broadcast.page_token, (reached, is_complete))

    async def cancelled(self, page: IntakeItem) -> None:
        self.was_cancelled = True
