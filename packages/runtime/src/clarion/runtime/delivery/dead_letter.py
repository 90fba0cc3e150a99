"""The dead letter of a single delivery."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from clarion.api.event.v1.dead_letter_pb2 import DeadLetter
from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime import chunks, streams
from clarion.runtime.delivery.events import set_time


class LetterBox(Protocol):
    """Where dead letters are stored: ``Streams.dead_letters``."""

    async def put(self, letter: DeadLetter) -> None:
        """Stores a letter; a repeat of its id is folded. Raises as Publisher."""
        ...


class InMemoryLetterBox:
    """Records letters and folds repeated ids; ``error`` makes every call raise it."""

    def __init__(self) -> None:
        self.letters: dict[str, DeadLetter] = {}
        self.error: Exception | None = None

    async def put(self, letter: DeadLetter) -> None:
        if self.error is not None:
            raise self.error
        self.letters.setdefault(letter.dead_letter_id, letter)


def job_letter(
    job: DeliveryJob,
    channel: str,
    *,
    reason: str,
    detail: str,
    deliveries: int,
    now: datetime,
) -> DeadLetter:
    """A letter whose body is a chunk of that one job, redriven to its work queue."""
    letter = DeadLetter(
        dead_letter_id=f"{job.delivery_id}:{deliveries}",
        source_stream=streams.WORK,
        source_subject=streams.work_subject(channel, job.priority),
        stage=channel,
        lane=job.priority,
        tenant_id=job.tenant_id,
        reason=reason,
        detail=detail,
        deliveries=deliveries,
        body=chunks.join((job.SerializeToString(),)),
        delivery_id=job.delivery_id,
        notification_id=job.notification_id,
    )
    set_time(letter.failed_time, now)
    return letter
