"""From a broadcast to the notifications of its subscribers, in constant memory.

A broadcast is one item that stands for the rest of a topic. Its worker reads one page,
stores the notifications of the page, then an item for the pages that follow, and is
done: no step holds more than a page, and the item for the rest waits behind the page,
so that a queue never holds more of a topic than that. What is killed in between
repeats one page; its ids are derived, which is what folds the repetition.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.broadcast_events import BroadcastEvents
from clarion.router.cancelling import CancelMarks
from clarion.router.topics import Page, Topics
from clarion.runtime import chunks
from clarion.runtime.ids import derived
from clarion.runtime.jetstream import Publisher, StreamFullError
from clarion.runtime.streams import INTAKE, overflow_of, part_of, work_subject
from clarion.runtime.tracing import span_from

_log = logging.getLogger(__name__)

MOST_SUBSCRIBERS = 1000
MOST_PAGE_BYTES = 4 * 1024 * 1024
"""Of the notifications of a page, encoded: large ones make small pages."""
MOST_ITEMS = 256
MOST_BYTES = 700_000


class Routes(Protocol):
    """Routes batches of notifications, each to one person."""

    async def route(self, items: Sequence[IntakeItem]) -> None:
        """Raises TransientError while something that it needs does not answer."""
        ...


class FanOut:
    """Routes what goes to one person, and spreads what goes to a topic."""

    def __init__(
        self,
        router: Routes,
        topics: Topics,
        cancels: CancelMarks,
        publisher: Publisher,
        events: BroadcastEvents,
    ) -> None:
        self._events = events
        self._router = router
        self._topics = topics
        self._cancels = cancels
        self._publisher = publisher

    async def route(self, items: Sequence[IntakeItem]) -> None:
        """Returns when the batch is routed and each broadcast of it is a page further.

        Raises TransientError while a neighbour or the stream does not answer.
        """
        broadcasts = {
            (item.notification_id, item.broadcast.page_token): item
            for item in items
            if item.HasField("broadcast")
        }
        if not broadcasts:
            await self._router.route(items)
            return
        others = [item for item in items if not item.HasField("broadcast")]
        if others:
            await self._router.route(others)
        for broadcast in broadcasts.values():
            with span_from(
                broadcast.trace_parent,
                "spread broadcast",
                attributes={
                    "clarion.broadcast_id": broadcast.notification_id,
                    "clarion.tenant_id": broadcast.tenant_id,
                },
            ):
                await self._spread(broadcast)

    async def _spread(self, broadcast: IntakeItem) -> None:
        rest: IntakeItem | None = broadcast
        while rest is not None:
            if await self._cancels.is_marked(rest.tenant_id, rest.notification_id):
                await self._events.cancelled(rest)
                _tell("cancelled", rest, rest.broadcast.reached)
                return
            page = await self._topics.page(
                rest.tenant_id,
                rest.broadcast.topic,
                page_size_for(rest),
                rest.broadcast.page_token,
            )
            await self._store_page(rest, page)
            rest = await self._store_rest(rest, page)

    async def _store_page(self, broadcast: IntakeItem, page: Page) -> None:
        # Never in front of what is sent to single people.
        subject = _subject_of(broadcast)
        for run in chunks.split(
            list(encoded_notifications(broadcast, page.user_ids)),
            max_items=MOST_ITEMS,
            max_bytes=MOST_BYTES,
        ):
            try:
                await self._publisher.publish(
                    subject,
                    chunks.join(encoded for _, encoded in run),
                    message_id=chunks.identity(subject, (id for id, _ in run)),
                )
            except StreamFullError:
                # Waiting for room would keep this worker from making room.
                await self._router.route(
                    [IntakeItem.FromString(encoded) for _, encoded in run]
                )

    async def _store_rest(self, broadcast: IntakeItem, page: Page) -> IntakeItem | None:
        """What is still to be done here: nothing, unless the queue is full."""
        reached = broadcast.broadcast.reached + len(page.user_ids)
        is_complete = not page.next_page_token
        await self._events.spread(broadcast, reached, is_complete)
        if is_complete:
            _tell("spread", broadcast, reached)
            return None
        rest = IntakeItem()
        rest.CopyFrom(broadcast)
        rest.broadcast.page_token = page.next_page_token
        rest.broadcast.reached = reached
        # Named by where this page began, so that a page that is read again, and ends
        # elsewhere because people came or went, does not begin a second chain.
        place = (broadcast.notification_id, broadcast.broadcast.page_token)
        try:
            await self._publisher.publish(
                _subject_of(broadcast),
                chunks.join([rest.SerializeToString()]),
                message_id=chunks.identity("broadcast", place),
            )
        except StreamFullError:
            return rest
        return None


def _subject_of(broadcast: IntakeItem) -> str:
    flow = overflow_of(broadcast.notification.priority)
    return work_subject(INTAKE, part_of(flow, broadcast.tenant_id))


def _tell(end: str, broadcast: IntakeItem, reached: int) -> None:
    _log.info(
        "broadcast ended",
        extra={
            "end": end,
            "broadcast_id": broadcast.notification_id,
            "tenant": broadcast.tenant_id,
            "topic": broadcast.broadcast.topic,
            "subscribers": reached,
        },
    )


def page_size_for(broadcast: IntakeItem) -> int:
    """How many subscribers are taken at a time."""
    return max(1, min(MOST_SUBSCRIBERS, MOST_PAGE_BYTES // broadcast.ByteSize()))


def encoded_notifications(
    broadcast: IntakeItem, user_ids: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """The subscribers' notifications with their ids."""
    item = IntakeItem()
    item.CopyFrom(broadcast)
    # The key was for the broadcast, and a trace of 100,000 persons nobody could read.
    item.ClearField("broadcast")
    item.ClearField("trace_parent")
    item.notification.ClearField("idempotency_key")
    item.broadcast_id = broadcast.notification_id
    for user_id in user_ids:
        item.notification_id = member_id(
            broadcast.tenant_id, broadcast.notification_id, user_id
        )
        item.notification.user_id = user_id
        yield item.notification_id, item.SerializeToString()


def member_id(tenant: str, broadcast_id: str, user_id: str) -> str:
    """The id of the notification that a subscriber gets from a broadcast."""
    return derived("member", tenant, broadcast_id, user_id)
