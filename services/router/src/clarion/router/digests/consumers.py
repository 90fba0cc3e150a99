"""From work.digest.<lane> to the use case."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from clarion.api.event.v1.work_pb2 import DigestChunk, DigestStep
from clarion.router.digests.collecting import Digests
from clarion.runtime.jetstream import Inbound, PoisonError


class DigestHandler:
    """Handles the messages of a digest lane."""

    def __init__(self, digests: Digests) -> None:
        self._digests = digests

    async def __call__(self, messages: Sequence[Inbound]) -> None:
        steps: list[DigestStep] = []
        for message in messages:
            try:
                steps.extend(DigestChunk.FromString(message.data).steps)
            except DecodeError as error:
                raise PoisonError("undecodable", "not a DigestChunk") from error
        # The consumer tries the messages one by one when this fails.
        await self._digests.take(steps)
