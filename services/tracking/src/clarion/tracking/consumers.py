"""From messages of EVENTS to batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from google.protobuf.message import DecodeError

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.runtime.clock import Clock
from clarion.runtime.jetstream import Inbound, PoisonError
from clarion.tracking import metrics
from clarion.tracking.batch import Batch
from clarion.tracking.writer import Writer

_log = logging.getLogger(__name__)

_PACE = timedelta(milliseconds=50)
_FEW = 64
"""Messages; fewer than this do not show that there is a backlog."""


class EventsHandler:
    """Stores what a call of the consumer brings; returns when it is committed.

    A transaction costs some milliseconds however little it stores. So a call with few
    messages returns no sooner than 50 ms after it began: what comes meanwhile shares
    the next one. The first event after a pause, and a backlog, are not held up by it.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        history: timedelta,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._history = history
        self._sleep = sleep

    async def __call__(self, messages: Sequence[Inbound]) -> None:
        """Raises PoisonError for what is no EventChunk, UnavailableError to be held."""
        started = self._clock.monotonic()
        batch = Batch(self._clock.now(), self._history)
        for message in messages:
            try:
                chunk = event_pb2.EventChunk.FromString(message.data)
            except DecodeError as error:
                raise PoisonError("undecodable", "not an EventChunk") from error
            batch.add_all(chunk.events)
        for rejected in batch.rejected:
            _log.warning("event rejected", extra={"problem": rejected.problem})
        written = await self._writer.write(batch)
        took = timedelta(seconds=self._clock.monotonic() - started)
        metrics.record_batch(
            events=written.events,
            duplicates=written.duplicates,
            rejected=len(batch.rejected),
            took=took,
        )
        if took < _PACE and len(messages) < _FEW:
            await self._sleep((_PACE - took).total_seconds())
