"""From work.intake.<flow> and due.intake.<flow> to the use case."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext

from google.protobuf.message import DecodeError

from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.router.fan_out import Routes
from clarion.router.giving_back import GivingBack
from clarion.router.parts import Parts
from clarion.router.waits import Waits
from clarion.runtime import chunks
from clarion.runtime.errors import TransientError
from clarion.runtime.jetstream import Inbound, PoisonError, Publisher
from clarion.runtime.pacing import in_flow
from clarion.runtime.streams import INTAKE, LANES, flow_of, work_subject

_log = logging.getLogger(__name__)


class IntakeHandler:
    """Handles the messages of an intake lane or of a part of its overflow.

    A message carries the notifications of many senders. One that cannot be routed is
    published again as a message of its own, where the consumer retries and dead-letters
    it, so that it does not take the others along.
    """

    def __init__(
        self,
        router: Routes,
        publisher: Publisher,
        waits: Waits | None = None,
        part: str = LANES[0],
        giving_back: GivingBack | None = None,
        parts: Parts | None = None,
    ) -> None:
        """Without ``waits`` what is handled does not count as waiting in its lane."""
        self._router = router
        self._publisher = publisher
        self._waits = waits
        self._part = part
        self._flow = flow_of(part)
        # Who is in a lane does not matter.
        self._parts = None if part in LANES else parts
        self._giving_back = giving_back

    async def __call__(self, messages: Sequence[Inbound]) -> None:
        oldest = min(message.stored_time for message in messages)
        waits = self._waits
        in_hand = waits.in_hand(self._flow, oldest) if waits else nullcontext()
        with in_flow(self._part, oldest), in_hand:
            await self._handle(messages)

    async def _handle(self, messages: Sequence[Inbound]) -> None:
        items: list[IntakeItem] = []
        for message in messages:
            try:
                items.extend(IntakeChunk.FromString(message.data).items)
            except DecodeError as error:
                raise PoisonError("undecodable", "not an IntakeChunk") from error
        parts, tenants = self._parts, {item.tenant_id for item in items}
        with parts.in_hand(self._part, tenants) if parts else nullcontext():
            if len(messages) > 1 or len(items) == 1:
                # The consumer tries the messages one by one when this fails.
                await self._router.route(items)
            else:
                await self._route_apart(items)

    async def given_up(self, message: Inbound) -> None:
        """The message became a dead letter."""
        try:
            items = IntakeChunk.FromString(message.data).items
        except DecodeError:
            return
        if self._giving_back is not None:
            await self._giving_back.given_up(items)

    async def _route_apart(self, items: Sequence[IntakeItem]) -> None:
        try:
            await self._router.route(items)
        except TransientError:
            raise
        except Exception as error:  # the edge: whatever is wrong with one of them
            if len(items) == 1:
                await self._set_apart(items[0], error)
                return
            middle = len(items) // 2
            await self._route_apart(items[:middle])
            await self._route_apart(items[middle:])

    async def _set_apart(self, item: IntakeItem, error: Exception) -> None:
        _log.warning(
            "notification set apart",
            extra={"notification_id": item.notification_id},
            exc_info=error,
        )
        await self._publisher.publish(
            work_subject(INTAKE, self._part),
            chunks.join([item.SerializeToString()]),
            message_id=f"apart:{item.notification_id}:{item.release}",
        )
