"""Messages that kill their workers: found by the server's advisories."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clarion.runtime import streams as table
from clarion.runtime.clock import Clock, SystemClock
from clarion.runtime.jetstream.consumer import Consumer
from clarion.runtime.jetstream.dead_letters import (
    delete_message,
    letter_of,
    read_message,
)
from clarion.runtime.jetstream.inbound import Inbound

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

_log = logging.getLogger(__name__)

MAX_DELIVERIES_REASON = "max_deliveries"


class AdvisoryWorker(Consumer):
    """Moves what was delivered ``max_deliver`` times without an answer to the DLQ.

    The order (read, put, delete, ack) loses nothing in a crash, and the letter's id
    folds what a repeat puts again. Any number of these may run.
    """

    def __init__(self, streams: Streams, *, clock: Clock | None = None) -> None:
        super().__init__(
            streams,
            stream=table.ADV,
            durable=table.ADVISORY_DURABLE,
            handle=self._bury,
            concurrency=1,
        )
        self._now = (clock or SystemClock()).now

    async def _bury(self, advisories: Sequence[Inbound]) -> None:
        for advisory in advisories:
            told = json.loads(advisory.data)
            await self._bury_one(
                str(told["stream"]), int(told["stream_seq"]), int(told["deliveries"])
            )

    async def _bury_one(self, stream: str, sequence: int, deliveries: int) -> None:
        message = await read_message(self._streams, stream, {"seq": sequence})
        if message is None:  # a late ack, or another of these workers
            return
        letter = letter_of(
            stream,
            message,
            reason=MAX_DELIVERIES_REASON,
            detail="delivered too often without an answer",
            deliveries=deliveries,
            now=self._now(),
        )
        await self._streams.dead_letters.put(letter)
        if stream in table.QUEUES:
            await delete_message(self._streams, stream, sequence)
        _log.error(
            "message dead-lettered by advisory",
            extra={"stream": stream, "sequence": sequence, "deliveries": deliveries},
        )
