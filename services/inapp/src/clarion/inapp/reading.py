"""The use case of marking: what was read is told to the rest of the mesh."""

from __future__ import annotations

from collections.abc import Sequence

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_READ,
    EventChunk,
    NotificationEvent,
)
from clarion.inapp.inbox import Inbox, Marked, Owner
from clarion.inapp.live import LiveChanges
from clarion.inapp.reaching import Reaching
from clarion.runtime.clock import Clock
from clarion.runtime.ids import event_id
from clarion.runtime.jetstream import GroupPublisher

CHANNEL = "in_app"
_READ = "read"


class Marking:
    """Marks items of an inbox."""

    def __init__(
        self,
        inbox: Inbox,
        live: LiveChanges,
        events: GroupPublisher[bytes],
        clock: Clock,
        reaching: Reaching,
    ) -> None:
        self._inbox = inbox
        self._live = live
        self._events = events
        self._clock = clock
        self._reaching = reaching

    async def mark(self, owner: Owner, item_ids: Sequence[str], mark: str) -> Marked:
        """Returns when the mark and, for ``read``, its events are stored.

        Raises UnavailableError; repeating is safe and tells what was not told yet.
        """
        marked = await self._inbox.mark(owner, item_ids, mark, self._clock.now())
        if mark == _READ and marked.items:
            # First: it may be what stops an SMS that is about to be sent.
            await self._reaching.read(
                owner.tenant,
                list({notification: None for _, notification, _ in marked.items}),
            )
        if marked.changed:
            await self._live.publish([owner])
        if mark == _READ and marked.items:
            chunk = self._read_events(owner, marked).SerializeToString()
            await self._events.submit(chunk, len(chunk))
        return marked

    def _read_events(self, owner: Owner, marked: Marked) -> EventChunk:
        chunk = EventChunk()
        for item_id, notification_id, type_ in marked.items:
            event: NotificationEvent = chunk.events.add(
                event_id=event_id(item_id, _READ),
                tenant_id=owner.tenant,
                notification_id=notification_id,
                kind=EVENT_KIND_READ,
                user_id=owner.user_id,
                type=type_,
                channel=CHANNEL,
                delivery_id=item_id,
            )
            event.occurred_time.FromDatetime(self._clock.now())
        return chunk
