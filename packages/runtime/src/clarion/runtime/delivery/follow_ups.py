"""Telling the service about failures until it has worked: never lost, never in the way.

A suppression or a dead token that is not written means sending again to somebody who
asked for nothing. So a failure handler that does not work (its neighbour is down) is
called again: the job and its outcome go through SCHED back to the channel's own queue,
marked by a header, with backoff. Holding the message in place of this would stop the
whole channel for as long as the neighbour is down.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from clarion.api.event.v1.dead_letter_pb2 import DeadLetter
from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.runtime import chunks, streams
from clarion.runtime.caller import as_tenant
from clarion.runtime.clock import Clock
from clarion.runtime.delivery import metrics
from clarion.runtime.delivery.dead_letter import LetterBox, job_letter
from clarion.runtime.delivery.outcome import Outcome, OutcomeKind
from clarion.runtime.delivery.provider import OnFailed
from clarion.runtime.jetstream.errors import PoisonError
from clarion.runtime.jetstream.ports import Scheduler
from clarion.runtime.retry import backoff, ceiling

_log = logging.getLogger(__name__)

HEADER = "Clarion-Follow-Up"
FAILED = "follow_up_failed"
MOST_TRIES = 300
"""A day at the longest wait; then a dead letter, from which it can be redriven."""

_FIRST_WAIT = timedelta(seconds=2)
_LONGEST_WAIT = timedelta(minutes=5)
_CALL_LIMIT = 3.0
"""Seconds that the handler may take; the messages of these jobs wait meanwhile."""
_MOST_PER_CALL = 500

Failure = tuple[DeliveryJob, Outcome]


class FollowUps:
    """Calls ``on_failed`` now, or later where that does not work."""

    def __init__(
        self,
        channel: str,
        on_failed: OnFailed,
        scheduler: Scheduler,
        letters: LetterBox,
        clock: Clock,
        *,
        first_wait: timedelta = _FIRST_WAIT,
    ) -> None:
        self._channel = channel
        self._on_failed = on_failed
        self._scheduler = scheduler
        self._letters = letters
        self._clock = clock
        self._first_wait = first_wait

    async def tell(self, failures: Sequence[Failure], tries: int = 0) -> None:
        """Returns when the handler worked or the next try is stored.

        Raises TransientError when neither was possible; repeating it is safe.
        """
        by_tenant: dict[str, list[Failure]] = {}
        for failure in failures:
            by_tenant.setdefault(failure[0].tenant_id, []).append(failure)
        for tenant, theirs in by_tenant.items():
            for start in range(0, len(theirs), _MOST_PER_CALL):
                await self._tell(
                    tenant, theirs[start : start + _MOST_PER_CALL], tries + 1
                )

    async def resume(self, data: bytes, header: str) -> None:
        """Handles a message that ``tell`` scheduled."""
        try:
            told = json.loads(header)
            outcome = Outcome(
                OutcomeKind.FAILED,
                reason=str(told["reason"]),
                provider_code=str(told["code"]),
                suppress=str(told["suppress"]),
            )
            tries = int(told["tries"])
        except (ValueError, KeyError, TypeError) as wrong:
            raise PoisonError("undecodable", "the follow-up header") from wrong
        jobs = DeliveryChunk.FromString(data).jobs
        await self.tell([(job, outcome) for job in jobs], tries)

    async def _tell(self, tenant: str, failures: Sequence[Failure], tries: int) -> None:
        try:
            with as_tenant(tenant):
                async with asyncio.timeout(_CALL_LIMIT):
                    await self._on_failed(failures)
        except Exception as exc:  # whatever it is, it is called again
            _log.warning(
                "failure handler did not work: called again later",
                extra={
                    "channel": self._channel,
                    "deliveries": len(failures),
                    "tries": tries,
                    "error": type(exc).__name__,
                },
            )
        else:
            return
        metrics.record_follow_ups(self._channel, len(failures))
        store = self._give_up if tries >= MOST_TRIES else self._schedule
        await asyncio.gather(*(store(*failure, tries) for failure in failures))

    async def _schedule(self, job: DeliveryJob, outcome: Outcome, tries: int) -> None:
        half = ceiling(tries, first=self._first_wait, most=_LONGEST_WAIT) / 2
        wait = half + backoff(tries, first=self._first_wait / 2, most=half)
        await self._scheduler.schedule(
            streams.later_subject("follow_up", job.tenant_id, job.delivery_id),
            target=streams.due_subject(self._channel, job.priority),
            due=self._clock.now() + wait,
            body=chunks.join((job.SerializeToString(),)),
            message_id=f"follow-up:{job.delivery_id}:{tries}",
            headers=_headers(outcome, tries),
        )

    async def _give_up(self, job: DeliveryJob, outcome: Outcome, tries: int) -> None:
        letter: DeadLetter = job_letter(
            job,
            self._channel,
            reason=FAILED,
            detail=f"{tries} calls of the failure handler did not work",
            deliveries=tries,
            now=self._clock.now(),
        )
        letter.dead_letter_id = f"follow-up:{job.delivery_id}"
        # Redriven, it begins again.
        letter.headers.update(_headers(outcome, 0))
        metrics.record_dead_letter(self._channel, job.priority, FAILED)
        await self._letters.put(letter)


def _headers(outcome: Outcome, tries: int) -> Mapping[str, str]:
    # ASCII by json's default: header values must be.
    return {
        HEADER: json.dumps(
            {
                "reason": outcome.reason,
                "code": outcome.provider_code,
                "suppress": outcome.suppress,
                "tries": tries,
            }
        )
    }
