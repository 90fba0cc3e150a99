"""Chains of channels: when all deliveries of one fail, the next one has its turn.

A job of such a chain carries the item that is decided next (``fallback``). It goes to
the router's queue once every delivery that was planned together with it has ended
without being sent, before the message of the last one is acked; whatever crashes in
between repeats the count and the publish, and both fold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clarion.api.event.v1.work_pb2 import DeliveryJob, IntakeItem
from clarion.runtime import chunks, streams
from clarion.runtime.clock import Clock
from clarion.runtime.delivery.attempts import Verdict
from clarion.runtime.delivery.claims import ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.events import recalled
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.delivery.reached import DELIVERED, Reached
from clarion.runtime.delivery.script import Script
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.jetstream.ports import Publisher, Scheduler
from clarion.runtime.keys import chain_key, fallback_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT = timedelta(days=3)
"""How long it is known what ended unsent, and what to do when a receipt says so."""

_MILLISECOND = timedelta(milliseconds=1)
_UNSENT = frozenset({ClaimState.SUPPRESSED, ClaimState.EXPIRED})
"""Ends at the claim after which the next channel is decided. What was cancelled or
superseded is not wanted on any channel."""


class Chains:
    """Passes on what was not sent. Every call raises TransientError; repeat it."""

    def __init__(
        self,
        redis: Redis,
        publisher: Publisher,
        scheduler: Scheduler,
        reached: Reached,
        clock: Clock,
        *,
        has_receipts: bool = False,
        sent_is_delivered: bool = False,
    ) -> None:
        """``has_receipts``: receipts may say later that something did not arrive.

        ``sent_is_delivered``: what the provider took is with the person.
        """
        self._redis: Any = redis
        self._count = Script(redis, "chains.lua")
        self._publisher = publisher
        self._scheduler = scheduler
        self._reached = reached
        self._clock = clock
        self._has_receipts = has_receipts
        self._sent_is_delivered = sent_is_delivered

    async def ended(self, entries: Iterable[Entry]) -> None:
        """Deals with entries whose jobs have a fallback, once they are judged."""
        unsent: list[DeliveryJob] = []
        sent: list[DeliveryJob] = []
        for entry in entries:
            match _was_sent(entry):
                case True:
                    sent.append(entry.job)
                case False:
                    unsent.append(entry.job)
        await asyncio.gather(self.unsent(unsent), self._sent(sent))

    async def unsent(self, jobs: Sequence[DeliveryJob]) -> None:
        """Counts deliveries as not sent and passes on what is complete by that."""
        decided: dict[tuple[str, str, bytes], list[DeliveryJob]] = {}
        for job in jobs:
            key = (job.tenant_id, job.notification_id, job.fallback)
            decided.setdefault(key, []).append(job)
        await asyncio.gather(*(self._unsent(together) for together in decided.values()))

    async def undelivered(self, tenant: str, delivery_id: str) -> None:
        """A receipt says that a delivery, though sent, did not arrive."""
        with redis_errors():
            kept = await self._redis.get(fallback_key(tenant, delivery_id))
        if kept is not None:
            await self.unsent([DeliveryJob.FromString(kept)])

    async def _unsent(self, jobs: Sequence[DeliveryJob]) -> None:
        job = jobs[0]
        step = IntakeItem.FromString(job.fallback)
        count = await self._count(
            [chain_key(job.tenant_id, job.notification_id, step.release)],
            (KEPT // _MILLISECOND, *(each.delivery_id for each in jobs)),
        )
        if int(count) >= job.fallback_deliveries:
            await self._pass_on(job, step)

    async def _pass_on(self, job: DeliveryJob, step: IntakeItem) -> None:
        body = chunks.join([job.fallback])
        name = f"{job.notification_id}:{step.release}"
        try:
            await self._publisher.publish(
                streams.work_subject(streams.INTAKE, job.priority),
                body,
                message_id=f"fallback:{name}",
            )
        except StreamFullError:
            # A channel must not wait for the router, which waits for the channels.
            await self._scheduler.schedule(
                streams.later_subject(
                    "fallback", job.tenant_id, f"{job.notification_id}-{step.release}"
                ),
                target=streams.due_subject(streams.INTAKE, job.priority),
                due=self._clock.now(),
                body=body,
                message_id=f"fallback:{name}",
            )

    async def _sent(self, jobs: Sequence[DeliveryJob]) -> None:
        if self._has_receipts and jobs:
            with redis_errors():
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for job in jobs:
                        key = fallback_key(job.tenant_id, job.delivery_id)
                        pipeline.set(key, _kept(job), px=KEPT)
                    await pipeline.execute()
        if self._sent_is_delivered:
            by_tenant: dict[str, list[str]] = {}
            for job in jobs:
                if job.escalate_until == DELIVERED:
                    by_tenant.setdefault(job.tenant_id, []).append(job.notification_id)
            for tenant, ids in by_tenant.items():
                await self._reached.mark(tenant, ids, DELIVERED)


def _was_sent(entry: Entry) -> bool | None:
    """How a delivery ended; None while it has not, or where nobody may go on."""
    outcome = entry.outcome
    if outcome is None:
        if entry.claim.state is not ClaimState.DONE:
            return False if entry.claim.state in _UNSENT else None
        # Told once more: the crash that brought it back may have been before this.
        outcome = recalled(entry.claim.outcome).outcome
    elif entry.verdict is Verdict.EXHAUSTED:
        return False
    if outcome.kind is OutcomeKind.SENT:
        return True
    return False if outcome.kind is OutcomeKind.FAILED else None


def _kept(job: DeliveryJob) -> bytes:
    """What passing on takes, without content and address."""
    return DeliveryJob(
        delivery_id=job.delivery_id,
        notification_id=job.notification_id,
        tenant_id=job.tenant_id,
        priority=job.priority,
        fallback=job.fallback,
        fallback_deliveries=job.fallback_deliveries,
    ).SerializeToString()
