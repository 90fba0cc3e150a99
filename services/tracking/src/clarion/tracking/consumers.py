"""From messages of EVENTS to batches."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from google.protobuf.message import DecodeError

from clarion.runtime.clock import Clock
from clarion.runtime.jetstream import Inbound, PoisonError
from clarion.tracking import metrics
from clarion.tracking.batch import Batch
from clarion.tracking.writer import Writer

_log = logging.getLogger(__name__)

MOST_MESSAGES = 1024
MOST_BYTES = 6 * 1024 * 1024
"""Of a call: more than comes in the longest pace, so that only a backlog fills it."""

_SHORTEST_PACE = 0.05
_LONGEST_PACE = 1.0
"""Seconds. What is told within it of one notification is written once."""
_EVENTS_A_SECOND = 8_000
"""From where on the pace is at its longest."""


class EventsHandler:
    """Stores what a call of the consumer brings; returns when it is committed.

    A transaction costs some milliseconds however little it stores, and a notification
    whose events come in two of them is written twice. So a call that is not full
    returns no sooner than 50 ms after it began, up to a second the more events there
    are: what comes meanwhile shares the next one. The first event after a pause, and a
    backlog, are not held up by it.
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
        self._started = -math.inf

    async def __call__(self, messages: Sequence[Inbound]) -> None:
        """Raises PoisonError for what is no EventChunk, UnavailableError to be held."""
        started = self._clock.monotonic()
        since, self._started = started - self._started, started
        batch = Batch(self._clock.now(), self._history)
        for message in messages:
            try:
                batch.add(message.data)
            except DecodeError as error:
                raise PoisonError("undecodable", "not an EventChunk") from error
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
        pace = _pace(written.events / max(since, _SHORTEST_PACE))
        if took < pace and not _is_full(messages):
            await self._sleep(pace - took)


def _pace(events_a_second: float) -> float:
    longest = _LONGEST_PACE * events_a_second / _EVENTS_A_SECOND
    return min(max(longest, _SHORTEST_PACE), _LONGEST_PACE)


def _is_full(messages: Sequence[Inbound]) -> bool:
    """Whether more than this was waiting, or nearly."""
    size = sum(len(message.data) for message in messages)
    return len(messages) >= MOST_MESSAGES or size >= MOST_BYTES * 3 // 4
