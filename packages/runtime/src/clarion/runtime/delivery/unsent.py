"""Giving back what a notification was counted for when nothing of it was sent.

Every job says how many were planned together with it. Those that end without being
sent are kept in a set in Valkey; when it holds all of them, the router is told by an
item on its own queue to give the permit back, before the message of the last one is
acked. A crash in between repeats count and message, and giving back twice is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.jetstream.ports import Publisher, Scheduler
from clarion.runtime.keys import unsent_deliveries_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT = timedelta(days=3)
"""How long it is known what ended: longer than retries last."""
_MOST_ITEMS = 256
_MOST_BYTES = 500_000
_ENDS = frozenset(
    {
        ClaimState.CANCELLED,
        ClaimState.SUPERSEDED,
        ClaimState.SUPPRESSED,
        ClaimState.EXPIRED,
    }
)


def is_unsent(entry: Entry) -> bool:
    """Whether a judged entry ended without being sent, for all that is known."""
    outcome = entry.outcome
    if outcome is not None and outcome.kind is OutcomeKind.SENT:
        return False
    if not entry.job.deliveries:
        return False
    if outcome is None:
        if entry.claim.state is not ClaimState.DONE:
            return entry.claim.state in _ENDS
        # Told once more: the crash that brought it back may have been before this.
        outcome = recalled(entry.claim.outcome).outcome
    if entry.verdict is Verdict.EXHAUSTED:
        return outcome.kind is not OutcomeKind.UNKNOWN
    return outcome.kind is OutcomeKind.FAILED


class Unsent:
    """Counts deliveries that ended unsent, and passes on what is complete by that."""

    def __init__(
        self, redis: Redis, publisher: Publisher, scheduler: Scheduler, clock: Clock
    ) -> None:
        self._redis: Any = redis
        self._publisher = publisher
        self._scheduler = scheduler
        self._clock = clock

    async def ended(self, jobs: Sequence[DeliveryJob]) -> None:
        """Raises TransientError without a server; repeating it is safe."""
        together: dict[tuple[str, str], list[DeliveryJob]] = {}
        for job in jobs:
            key = (job.tenant_id, job.notification_id)
            together.setdefault(key, []).append(job)
        counts = await self._count(together)
        complete: dict[str, list[tuple[str, bytes]]] = {}
        for (_, notification_id), own in together.items():
            if counts[notification_id] >= own[0].deliveries:
                item = (notification_id, _give_back(own[0]).SerializeToString())
                complete.setdefault(own[0].priority, []).append(item)
        for lane, items in complete.items():
            for run in chunks.split(
                items, max_items=_MOST_ITEMS, max_bytes=_MOST_BYTES
            ):
                await self._pass_on(lane, run)

    async def _count(
        self, together: Mapping[tuple[str, str], Sequence[DeliveryJob]]
    ) -> dict[str, int]:
        counts = {id: len(own) for (_, id), own in together.items()}
        waiting = [
            (tenant, id, own)
            for (tenant, id), own in together.items()
            if len({job.delivery_id for job in own}) < own[0].deliveries
        ]
        if not waiting:
            return counts
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for tenant, id, own in waiting:
                    key = unsent_deliveries_key(tenant, id)
                    pipeline.sadd(key, *(job.delivery_id for job in own))
                    pipeline.pexpire(key, KEPT)
                    pipeline.scard(key)
                found = await pipeline.execute()
        for (_, id, _), count in zip(waiting, found[2::3], strict=True):
            counts[id] = count
        return counts

    async def _pass_on(self, lane: str, run: Sequence[tuple[str, bytes]]) -> None:
        body = chunks.join(encoded for _, encoded in run)
        name = chunks.identity("give back", (id for id, _ in run))
        try:
            await self._publisher.publish(
                streams.work_subject(streams.INTAKE, lane), body, message_id=name
            )
        except StreamFullError:
            # A channel must not wait for the router, which waits for the channels.
            await self._scheduler.schedule(
                streams.later_subject("give_back", "all", name),
                target=streams.due_subject(streams.INTAKE, lane),
                due=self._clock.now(),
                body=body,
                message_id=name,
            )


def _give_back(job: DeliveryJob) -> IntakeItem:
    item = IntakeItem(
        notification_id=job.notification_id, tenant_id=job.tenant_id, give_back=True
    )
    notification = item.notification
    notification.user_id = job.user_id
    notification.type, notification.category = job.type, job.category
    item.accepted_time.CopyFrom(job.accepted_time)
    # A router that does not know such items yet must not send it.
    notification.expires_at.CopyFrom(job.accepted_time)
    return item
