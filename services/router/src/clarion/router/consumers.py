"""From work.intake.<lane> to the use case."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from clarion.api.event.v1.work_pb2 import IntakeChunk, IntakeItem
from clarion.router.routing import Router
from clarion.runtime.jetstream import Inbound, PoisonError


class IntakeHandler:
    """Handles the messages of an intake lane."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, messages: Sequence[Inbound]) -> None:
        items: list[IntakeItem] = []
        for message in messages:
            try:
                items.extend(IntakeChunk.FromString(message.data).items)
            except DecodeError as error:
                raise PoisonError("not an IntakeChunk") from error
        await self._router.route(items)
