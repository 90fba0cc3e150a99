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

MOST_MESSAGES = 256
MOST_BYTES = 2 * 1024 * 1024
"""Of a call: what the two COPYs of some thousand notifications take in one go."""

_PACE = 0.05
_PACE_MOST = 0.3
"""Seconds. What is told within it of one notification is written once."""
_FEW_EVENTS = 250
_EVENTS_A_SECOND = 10_000
"""Where the pace is at its longest."""


class EventsHandler:
    """Stores what a call of the consumer brings; returns when it is committed.

    A transaction costs some milliseconds however little it stores, and a notification
    whose events come in two of them is written twice. So a call that is not full
    returns no sooner than 50 ms after it began, 300 ms under high load: what comes
    meanwhile shares the next one. The first event after a pause, and a backlog, are not
    held up by it.
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
            await asyncio.sleep(0)  # thousands of events: others have their turn
        for rejected in batch.rejected:
            _log.warning("event rejected", extra={"problem": rejected.problem})
        written = await self._writer.write(batch)
        took = self._clock.monotonic() - started
        metrics.record_batch(
            events=written.events,
            duplicates=written.duplicates,
            rejected=len(batch.rejected),
            took=timedelta(seconds=took),
        )
        pace = _pace(written.events)
        if took < pace and not _is_full(messages):
            await self._sleep(pace - took)


def _pace(events: int) -> float:
    return min(_PACE + max(events - _FEW_EVENTS, 0) / _EVENTS_A_SECOND, _PACE_MOST)


def _is_full(messages: Sequence[Inbound]) -> bool:
    """Whether more than this was waiting, or nearly."""
    size = sum(len(message.data) for message in messages)
    return len(messages) >= MOST_MESSAGES or size >= MOST_BYTES * 3 // 4
