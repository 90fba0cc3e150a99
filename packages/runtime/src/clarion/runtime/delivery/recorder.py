"""Storing what became of deliveries, many at a time.

Results that come while others are being stored share the next call of each server:
done marks one script call, events one message. The order makes crashes harmless:

1. done marks, holding the outcome: from here on nothing is sent twice, and whoever
   gets the message again tells the outcome again;
2. events, schedules of retries and dead letters, and what the next channel of a
   chain is told, side by side;
3. the claim of what will come back is handed to its next attempt;
4. what is over of ordered notifications makes room for those that it held back;
5. what ended without being sent is counted, so that its permit is given back;
6. the entry is stored; its message is acked once all of its entries are.

While a server is down the results are kept here and tried again: the message stays
unacked and nothing is sent a second time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime import chunks, streams
from clarion.runtime.clock import Clock
from clarion.runtime.delivery import events, metrics
from clarion.runtime.delivery.attempts import RetryPolicy, Verdict
from clarion.runtime.delivery.chains import Chains
from clarion.runtime.delivery.claims import ClaimState, Mark
from clarion.runtime.delivery.dead_letter import LetterBox, job_letter
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.follow_ups import FollowUps
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.delivery.spans import end_span
from clarion.runtime.delivery.turns import is_over, look_later
from clarion.runtime.delivery.unsent import Unsent, is_unsent, is_withdrawn
from clarion.runtime.errors import TransientError
from clarion.runtime.jetstream.ports import Scheduler
from clarion.runtime.retry import backoff

_log = logging.getLogger(__name__)

_LATER = (ClaimState.LEASED, ClaimState.HELD_BACK)
_GATHER = 0.01
"""Seconds from a result to its store: those of one message come one by one. The window
in which a crash doubles a message grows by this, and there are 100 stores a second at
most, each with a call of Valkey."""
_EVENTS_PER_ITEM = 512
_SCHEDULES_AT_ONCE = 128
_LEASE_MARGIN = timedelta(milliseconds=500)


class Marks(Protocol):
    """Where marks are written: ``Claims``."""

    async def settle(self, marks: Sequence[Mark]) -> None:
        """Writes the marks; repeating it is safe."""
        ...

    async def end_turns(self, jobs: Sequence[DeliveryJob]) -> None:
        """Deliveries of ordered notifications are over; repeating it is safe."""
        ...


class EventSink(Protocol):
    """Where events go: a GroupPublisher of encoded EventChunks."""

    async def submit(self, item: bytes, size: int) -> None:
        """Returns when the item is stored."""
        ...


class Recorder:
    """Stores entries that are settled. One for all lanes of a channel."""

    def __init__(
        self,
        channel: str,
        *,
        marks: Marks,
        event_sink: EventSink,
        scheduler: Scheduler,
        letters: LetterBox,
        policy: RetryPolicy,
        clock: Clock,
        follow_ups: FollowUps | None = None,
        unsent: Unsent | None = None,
        chains: Chains | None = None,
    ) -> None:
        self._channel = channel
        self._marks = marks
        self._events = event_sink
        self._scheduler = scheduler
        self._letters = letters
        self._policy = policy
        self._clock = clock
        self._follow_ups = follow_ups
        self._unsent = unsent
        self._chains = chains
        self._pending: list[Entry] = []
        self._timer: asyncio.Handle | None = None
        self._storing: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(_SCHEDULES_AT_ONCE)

    def add(self, entry: Entry) -> None:
        """Takes a settled entry (an outcome, or a claim that is none); returns at once.

        Its ticket is told when it is stored.
        """
        self._pending.append(entry)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GATHER, self._start)

    async def close(self, limit: timedelta = timedelta(seconds=4)) -> None:
        """Gives what is under way a last chance; what is not stored comes again."""
        until = asyncio.get_running_loop().time() + limit.total_seconds()
        while self._storing or self._timer is not None:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            if self._storing:
                await asyncio.wait(self._storing, timeout=left)
            else:
                await asyncio.sleep(min(left, _GATHER))
        for task in self._storing:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        self._timer = None
        entries, self._pending = self._pending, []
        task = asyncio.create_task(
            self._store(entries), name=f"{self._channel} results"
        )
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def _store(self, entries: Sequence[Entry]) -> None:
        try:
            await self._store_all(entries)
        except Exception as exc:  # the edge: one entry that cannot be stored
            if len(entries) == 1:
                entries[0].ticket.failed(exc)
                return
            # It must not take the others with it, whose messages would come again.
            # Everything here may be repeated.
            for entry in entries:
                await self._store([entry])

    async def _store_all(self, entries: Sequence[Entry]) -> None:
        over, coming_back = self._judge(entries)
        if over:
            await self._stored("marks", lambda: self._marks.settle(over))
        await asyncio.gather(
            *(self._publish(item) for item in _encoded(entries)),
            *(self._put_back(entry) for entry in coming_back),
            self._pass_on([entry for entry in entries if entry.job.fallback]),
        )
        waiting = [
            Mark.waiting(entry.job, entry.owner, entry.attempt + 1)
            for entry in coming_back
            if entry.outcome is not None
        ]
        if waiting:
            await self._stored("marks", lambda: self._marks.settle(waiting))
        ended = [entry.job for entry in entries if entry.job.ordered and is_over(entry)]
        if ended:
            await self._stored("turns", lambda: self._marks.end_turns(ended))
        await self._count_unsent(entries)
        metrics.record_entries(self._channel, entries)
        failures = []
        for entry in entries:
            end_span(entry)
            if self._follow_ups is not None and _is_failure(entry):
                failures.append(entry)
            else:
                entry.ticket.stored()
        if failures:
            await self._tell(failures)

    def _judge(self, entries: Sequence[Entry]) -> tuple[list[Mark], list[Entry]]:
        """What is over, as marks, and what comes back: retries, letters, leased."""
        over: list[Mark] = []
        coming_back: list[Entry] = []
        for entry in entries:
            if entry.outcome is None:
                if entry.claim.state in _LATER:
                    coming_back.append(entry)
                continue
            entry.verdict = self._policy.verdict(entry.attempt, entry.outcome)
            if entry.verdict is Verdict.DONE:
                over.append(Mark.done(entry.job, entry.owner, events.remembered(entry)))
                continue
            coming_back.append(entry)
            if entry.verdict is Verdict.AGAIN:
                wait = self._policy.wait(entry.attempt, entry.outcome.retry_after)
                entry.retry_at = entry.at + wait
                if entry.outcome.kind is OutcomeKind.UNKNOWN:
                    metrics.record_duplicated(self._channel, "unknown")
        return over, coming_back

    async def _publish(self, item: bytes) -> None:
        await self._stored("events", lambda: self._events.submit(item, len(item)))

    async def _pass_on(self, entries: Sequence[Entry]) -> None:
        chains = self._chains
        if entries and chains is not None:
            await self._stored("chains", lambda: chains.ended(entries))

    async def _put_back(self, entry: Entry) -> None:
        async with self._at_once:
            if entry.outcome is None:
                if entry.claim.state is ClaimState.LEASED:
                    await self._stored("leased", lambda: self._after_lease(entry))
                else:
                    await self._stored("held_back", lambda: self._look_later(entry))
                return
            job = entry.job
            if not job.HasField("first_attempt_time"):
                events.set_time(job.first_attempt_time, entry.at)
            job.attempt = entry.attempt + 1
            if entry.verdict is Verdict.AGAIN:
                await self._stored("retries", lambda: self._retry(entry))
            else:
                await self._stored("dead_letters", lambda: self._bury(entry))
                metrics.record_dead_letter(
                    self._channel,
                    streams.flow_of(entry.lane),
                    events.ATTEMPTS_EXHAUSTED,
                )

    async def _retry(self, entry: Entry) -> None:
        job = entry.job
        assert entry.retry_at is not None
        due = entry.retry_at
        if job.HasField("expires_time"):
            # Back in time to be told as expired.
            due = min(due, job.expires_time.ToDatetime(due.tzinfo))
        await self._scheduler.schedule(
            streams.later_subject("retry", job.tenant_id, job.delivery_id),
            target=streams.due_subject(self._channel, entry.lane),
            due=due,
            body=chunks.join((job.SerializeToString(),)),
            message_id=f"retry:{job.delivery_id}:{job.attempt}",
        )

    async def _bury(self, entry: Entry) -> None:
        outcome = entry.outcome
        assert outcome is not None
        letter = job_letter(
            entry.job,
            self._channel,
            reason=events.ATTEMPTS_EXHAUSTED,
            detail=f"{entry.provider}: {outcome.kind.value} {outcome.reason} "
            f"{outcome.provider_code}".strip(),
            deliveries=entry.attempt,
            now=entry.at,
        )
        await self._letters.put(letter)

    async def _after_lease(self, entry: Entry) -> None:
        """Alone, once the lease of the other has run out: it is over or to be sent."""
        job = entry.job
        await self._scheduler.schedule(
            streams.later_subject(
                "leased", job.tenant_id, f"{job.delivery_id}-{entry.attempt}"
            ),
            target=streams.due_subject(self._channel, entry.lane),
            due=entry.at + entry.claim.lease_left + _LEASE_MARGIN,
            body=chunks.join((job.SerializeToString(),)),
            message_id=f"leased:{job.delivery_id}:{entry.attempt}",
        )

    async def _look_later(self, entry: Entry) -> None:
        await look_later(self._scheduler, self._channel, entry)

    async def _count_unsent(self, entries: Sequence[Entry]) -> None:
        unsent = self._unsent
        if unsent is None:
            return
        ended = [entry for entry in entries if is_unsent(entry)]
        if ended:
            jobs = [entry.job for entry in ended]
            withdrawn = {e.job.delivery_id for e in ended if is_withdrawn(e)}
            await self._stored("unsent", lambda: unsent.ended(jobs, withdrawn))

    async def _tell(self, failures: Sequence[Entry]) -> None:
        follow_ups = self._follow_ups
        assert follow_ups is not None
        told = [
            (entry.job, entry.outcome)
            for entry in failures
            if entry.outcome is not None
        ]
        await self._stored("follow_ups", lambda: follow_ups.tell(told))
        for entry in failures:
            entry.ticket.stored()

    async def _stored(self, part: str, store: Callable[[], Awaitable[None]]) -> None:
        """Tries until it is stored, or fails for another reason than a server down."""
        tries = 0
        while True:
            tries += 1
            try:
                await store()
            except TransientError as exc:
                metrics.record_held(self._channel, part)
                if tries == 1:
                    _log.warning(
                        "results held: a server does not answer",
                        extra={
                            "channel": self._channel,
                            "part": part,
                            "error": str(exc),
                        },
                    )
            else:
                return
            wait = backoff(tries, most=timedelta(seconds=3))
            await asyncio.sleep(max(wait.total_seconds(), 0.05))


def _is_failure(entry: Entry) -> bool:
    return entry.outcome is not None and entry.outcome.kind is OutcomeKind.FAILED


def _encoded(entries: Sequence[Entry]) -> list[bytes]:
    """The events as encoded EventChunks; such may be joined by concatenation."""
    runs = range(0, len(entries), _EVENTS_PER_ITEM)
    items = [events.encoded(entries[at : at + _EVENTS_PER_ITEM]) for at in runs]
    return [item for item in items if item]
