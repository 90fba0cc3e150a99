"""What was decided goes to the channels, to the digests and to who keeps count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clarion.api.event.v1.work_pb2 import DigestFold
from clarion.router import metrics
from clarion.router.deliveries import EncodedJob
from clarion.router.digests.folding import step_of
from clarion.router.gathering import all_of
from clarion.router.plan import Plan
from clarion.router.riding import Riding
from clarion.runtime import chunks
from clarion.runtime.jetstream import Publisher
from clarion.runtime.pacing import current_flow
from clarion.runtime.streams import DIGEST, events_subject, work_subject

# A chunk is one publish, one fsync and one handler call of a channel; large ones are
# what makes the mesh fast, and they stay well under the 2 MB that a message may have.
MOST_ITEMS = 256
MOST_BYTES = 700_000


class Step(NamedTuple):
    """One tenant's notifications that are decided together, ready to be published."""

    plans: Sequence[Plan] = ()
    jobs: Sequence[EncodedJob] = ()
    events: Sequence[tuple[str, bytes]] = ()


class HandOver:
    """Publishes in chunks; the same items in the same order have the same ids."""

    def __init__(self, publisher: Publisher, riding: Riding) -> None:
        self._publisher = publisher
        self._riding = riding

    async def collect(self, folds: Sequence[DigestFold]) -> None:
        """Has the digests take them in."""
        by_subject: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for fold in folds:
            subject = work_subject(DIGEST, fold.priority)
            decision = f"{fold.item.notification_id}:{fold.item.release}"
            by_subject[subject].append((decision, step_of(fold)))
        await self._publish_chunks(by_subject)

    async def publish(self, steps: Sequence[Step]) -> None:
        """Stores the jobs and the events; those of all steps share messages."""
        by_subject: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        jobs = [job for step in steps for job in step.jobs]
        lanes = [job.lane for job in jobs]
        flows = self._riding.onwards(current_flow(), lanes)
        for job, flow in zip(jobs, flows, strict=True):
            subject = work_subject(job.channel, flow)
            by_subject[subject].append((job.delivery_id, job.body))
        events = [event for step in steps for event in step.events]
        by_subject[events_subject("router")] = events
        await self._publish_chunks(by_subject)
        for step in steps:
            metrics.record_decisions(step.plans)

    async def _publish_chunks(
        self, by_subject: Mapping[str, Sequence[tuple[str, bytes]]]
    ) -> None:
        await all_of(
            self._publisher.publish(
                subject,
                chunks.join(encoded for _, encoded in run),
                message_id=chunks.identity(subject, (id for id, _ in run)),
            )
            for subject, encoded_items in by_subject.items()
            for run in chunks.split(
                encoded_items, max_items=MOST_ITEMS, max_bytes=MOST_BYTES
            )
        )
