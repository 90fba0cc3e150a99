"""The use case of cancelling: remove what is scheduled, mark what is queued."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    NotificationEvent,
)
from clarion.router.giving_back import GivingBack
from clarion.router.ordering import InMemoryTurns, Turns
from clarion.router.releasing import release_subject
from clarion.router.strategies.chain import escalation_subject
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
BEGUN = "begun"
"""The mark of a cancel that nobody knows the end of yet."""


class CancelMarks(Protocol):
    """Tells the channels what not to send any more, and remembers the answer.

    All raise UnavailableError when the marks do not answer.
    """

    async def begin(self, tenant: str, notification_id: str) -> str:
        """Marks it; the mark that an earlier cancel left, or nothing."""
        ...

    async def end(self, tenant: str, notification_id: str, status: str) -> None:
        """Keeps the answer for cancels to come."""
        ...

    async def is_marked(self, tenant: str, notification_id: str) -> bool:
        """Whether a cancel was begun."""
        ...

    async def marked(self, tenant: str, notification_ids: Sequence[str]) -> set[str]:
        """Those of them that a cancel was begun for."""
        ...


class Waiting(Protocol):
    """Where notifications wait for others."""

    async def remove(self, tenant: str, notification_id: str) -> int:
        """Takes one out; how many there were, as far as is known. Never waits long."""
        ...


class NothingWaits:
    """Implements Waiting where nothing does."""

    async def remove(self, tenant: str, notification_id: str) -> int:
        return 0


class ValkeyCancelMarks:
    """Implements CancelMarks; the claim of every delivery looks for the mark."""

    def __init__(self, valkey: Redis, window: timedelta) -> None:
        self._valkey: Any = valkey
        self._window = window

    async def begin(self, tenant: str, notification_id: str) -> str:
        key = cancelled_key(tenant, notification_id)
        with redis_errors():
            before = await self._valkey.set(
                key, BEGUN, nx=True, get=True, px=self._window
            )
        return before.decode() if before else ""

    async def end(self, tenant: str, notification_id: str, status: str) -> None:
        with redis_errors():
            await self._valkey.set(
                cancelled_key(tenant, notification_id), status, px=self._window
            )

    async def is_marked(self, tenant: str, notification_id: str) -> bool:
        with redis_errors():
            return bool(
                await self._valkey.exists(cancelled_key(tenant, notification_id))
            )

    async def marked(self, tenant: str, notification_ids: Sequence[str]) -> set[str]:
        keys = [cancelled_key(tenant, id) for id in notification_ids]
        with redis_errors():
            found = await self._valkey.mget(keys)
        return {id for id, mark in zip(notification_ids, found, strict=True) if mark}


class InMemoryCancelMarks:
    """Implements CancelMarks for tests. Set ``error`` to make every call raise it."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None

    async def begin(self, tenant: str, notification_id: str) -> str:
        if self.error is not None:
            raise self.error
        before = self.marks.get((tenant, notification_id), "")
        self.marks.setdefault((tenant, notification_id), BEGUN)
        return before

    async def end(self, tenant: str, notification_id: str, status: str) -> None:
        if self.error is not None:
            raise self.error
        self.marks[tenant, notification_id] = status

    async def is_marked(self, tenant: str, notification_id: str) -> bool:
        if self.error is not None:
            raise self.error
        return (tenant, notification_id) in self.marks

    async def marked(self, tenant: str, notification_ids: Sequence[str]) -> set[str]:
        return {id for id in notification_ids if await self.is_marked(tenant, id)}


class Cancellation:
    """Cancels notifications."""

    def __init__(
        self,
        scheduler: Scheduler,
        marks: CancelMarks,
        events: GroupPublisher[bytes],
        clock: Clock,
        turns: Turns | None = None,
        digests: Waiting | None = None,
        giving_back: GivingBack | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._marks = marks
        self._events = events
        self._clock = clock
        self._turns = turns or InMemoryTurns()
        self._digests = digests or NothingWaits()
        self._giving_back = giving_back

    async def cancel(self, tenant: str, notification_id: str) -> str:
        """CANCELLED when it still waited, CANCELLING when it may be under way.

        What waits is scheduled, deferred or part of a digest that is still open. The
        timer of an escalation is removed.

        The mark comes first: what fires between the two steps is stopped by it.
        Raises UnavailableError; repeating is safe.
        """
        before = await self._marks.begin(tenant, notification_id)
        await self._turns.cancelled(tenant, notification_id)
        removed = await self._scheduler.cancel(
            later_subject(INTAKE, tenant, notification_id)
        )
        released = await self._scheduler.cancel(
            release_subject(tenant, notification_id)
        )
        removed += released
        if (released or before == BEGUN) and self._giving_back is not None:
            # Channels that were decided before may have sent nothing.
            await self._giving_back.withdrawn(tenant, notification_id)
        removed += await self._digests.remove(tenant, notification_id)
        # A step of an escalation was sent: only what would follow is taken back.
        stopped = await self._scheduler.cancel(
            escalation_subject(tenant, notification_id)
        )
        status = CANCELLED if removed or before == CANCELLED else CANCELLING
        # A cancel that died after the removal left its mark and perhaps no event; the
        # notification would count as scheduled for ever.
        if removed or stopped or before == BEGUN:
            await self._tell(tenant, notification_id)
        if status != before:
            await self._marks.end(tenant, notification_id, status)
        return status

    async def _tell(self, tenant: str, notification_id: str) -> None:
        event = NotificationEvent(
            event_id=event_id(notification_id, CANCELLED),
            tenant_id=tenant,
            notification_id=notification_id,
            kind=EVENT_KIND_CANCELLED,
        )
        event.occurred_time.FromDatetime(self._clock.now())
        encoded = event.SerializeToString()
        await self._events.submit(encoded, len(encoded))
