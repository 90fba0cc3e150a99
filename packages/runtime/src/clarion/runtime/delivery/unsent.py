"""Giving back what a notification was counted for when nothing of it was sent.

Every job says how many deliveries are planned so far. Those that end without being
sent are counted in Valkey (unsent_counts.py); when that is all of them, the router is
told by an item on its own queue to give the permit back, before the message of the last
one is acked. So is what was counted for a channel when only that one sent nothing. A
crash in between repeats count and message, and giving back twice is harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from clarion.api.event.v1.work_pb2 import DeliveryJob, IntakeItem
from clarion.runtime import chunks, streams
from clarion.runtime.clock import Clock
from clarion.runtime.delivery.attempts import Verdict
from clarion.runtime.delivery.claims import ClaimState
from clarion.runtime.delivery.entry import Entry
from clarion.runtime.delivery.events import recalled
from clarion.runtime.delivery.outcome import OutcomeKind
from clarion.runtime.delivery.unsent_counts import Count, UnsentCounts
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.jetstream.ports import Publisher, Scheduler

_MOST_ITEMS = 256
_MOST_BYTES = 500_000
_WITHDRAWN = frozenset({ClaimState.CANCELLED, ClaimState.SUPERSEDED})
"""Ends that nothing follows, whatever was to be decided later."""
_ENDS = _WITHDRAWN | {ClaimState.SUPPRESSED, ClaimState.EXPIRED}


def is_unsent(entry: Entry) -> bool:
    """Whether a judged entry ended without being sent, for all that is known."""
    outcome = entry.outcome
    if outcome is not None and outcome.kind is OutcomeKind.SENT:
        return False
    if not entry.job.deliveries and not entry.job.channel_deliveries:
        return False
    if outcome is None:
        if entry.claim.state is not ClaimState.DONE:
            return entry.claim.state in _ENDS
        # Told once more: the crash that brought it back may have been before this.
        outcome = recalled(entry.claim.outcome).outcome
    if entry.verdict is Verdict.EXHAUSTED:
        return outcome.kind is not OutcomeKind.UNKNOWN
    return outcome.kind is OutcomeKind.FAILED


def is_withdrawn(entry: Entry) -> bool:
    """Whether no other channel is wanted either."""
    return entry.outcome is None and entry.claim.state in _WITHDRAWN


class Unsent:
    """Counts deliveries that ended unsent, and passes on what is complete by that."""

    def __init__(
        self,
        counts: UnsentCounts,
        publisher: Publisher,
        scheduler: Scheduler,
        clock: Clock,
    ) -> None:
        self._counts = counts
        self._publisher = publisher
        self._scheduler = scheduler
        self._clock = clock

    async def ended(
        self, jobs: Sequence[DeliveryJob], withdrawn: Collection[str] = ()
    ) -> None:
        """Takes note of jobs that ended unsent; ``withdrawn`` are deliveries.

        Raises TransientError without a server; repeating it is safe.
        """
        together: dict[tuple[str, str], list[DeliveryJob]] = {}
        for job in jobs:
            key = (job.tenant_id, job.notification_id)
            together.setdefault(key, []).append(job)
        complete: dict[str, list[tuple[str, bytes]]] = {}
        waiting: list[tuple[str, Count]] = []
        for own in together.values():
            lane = own[0].priority
            goes_on = any(job.followed for job in own)
            for one in _counts_of(own, withdrawn):
                if not goes_on and len(one.ended) >= one.planned:
                    # All at once, as with a single delivery: nothing to remember.
                    complete.setdefault(lane, []).append((_name(one), one.back))
                    break
                waiting.append((lane, one))
        found = await self._counts.add([one for _, one in waiting]) if waiting else ()
        for (lane, one), back in zip(waiting, found, strict=True):
            if back is not None:
                complete.setdefault(lane, []).append((_name(one), back))
        for lane, items in complete.items():
            for run in chunks.split(
                items, max_items=_MOST_ITEMS, max_bytes=_MOST_BYTES
            ):
                await self._pass_on(lane, run)

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


def _counts_of(jobs: Sequence[DeliveryJob], withdrawn: Collection[str]) -> list[Count]:
    """What jobs of one notification add to its count and to those of its channels."""
    first = jobs[0]
    counts = []
    if first.deliveries:
        planned = max(job.deliveries for job in jobs)
        is_withdrawn = any(job.delivery_id in withdrawn for job in jobs)
        is_last = is_withdrawn or not all(job.followed for job in jobs)
        ids = list(dict.fromkeys(job.delivery_id for job in jobs))
        counts.append(
            Count(
                first.tenant_id,
                first.notification_id,
                planned,
                is_last,
                _give_back(first),
                ids,
            )
        )
    channels: dict[str, list[DeliveryJob]] = {}
    for job in jobs:
        if job.channel_deliveries:
            channels.setdefault(job.channel, []).append(job)
    for channel, own in channels.items():
        name = f"{first.notification_id}:{channel}"
        ids = list(dict.fromkeys(job.delivery_id for job in own))
        back = _give_back(own[0], channel)
        planned = own[0].channel_deliveries
        counts.append(Count(first.tenant_id, name, planned, True, back, ids))
    return counts


def _name(count: Count) -> str:
    # A later part may complete it once more, with more deliveries.
    return f"{count.name}:{count.planned}"


def _give_back(job: DeliveryJob, *channels: str) -> bytes:
    item = IntakeItem(
        notification_id=job.notification_id,
        tenant_id=job.tenant_id,
        channels=channels,
        give_back=True,
    )
    notification = item.notification
    notification.user_id = job.user_id
    notification.type, notification.category = job.type, job.category
    item.accepted_time.CopyFrom(job.accepted_time)
    # A router that does not know such items yet must not send it.
    notification.expires_at.CopyFrom(job.accepted_time)
    return item.SerializeToString()
