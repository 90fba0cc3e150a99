"""A provider without a third party and jobs to send, for tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.provider import Settle

_numbers = itertools.count(1)

Script = Callable[[DeliveryJob], Outcome]


def make_job(address: str = "", **fields: Any) -> DeliveryJob:
    """A job with ids of its own, accepted now; ``fields`` are set on it."""
    number = next(_numbers)
    job = DeliveryJob(
        delivery_id=f"delivery-{number}",
        notification_id=f"notification-{number}",
        tenant_id="demo",
        user_id="ada",
        channel="push",
        priority="high",
        attempt=1,
        type="order_shipped",
    )
    job.target.address = address or f"address-{number}"
    job.content.title = "Your order"
    job.content.body = "It is on its way."
    job.accepted_time.FromDatetime(datetime.now(UTC))
    for name, value in fields.items():
        setattr(job, name, value)
    return job


class ScriptedProvider:
    """Records what it is given and answers as scripted; SENT by default.

    ``script`` maps a job to its outcome. Clear ``gate`` to hold every send before its
    jobs are taken; set ``answers`` to False to take jobs and never answer, as a worker
    that dies after the provider's accept would see it.
    """

    def __init__(self, name: str = "scripted", script: Script | None = None) -> None:
        self.name = name
        self.script = script
        self.gate = asyncio.Event()
        self.gate.set()
        self.answers = True
        self.offered = 0
        """Jobs that were given to ``send``, whether it took them or not."""
        self.sent: list[DeliveryJob] = []
        """Copies of the jobs of every attempt, whatever the outcome."""
        self.problem: Exception | None = None
        """What ``check`` raises."""
        self.is_closed = False

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """See Provider."""
        self.offered += len(jobs)
        await self.gate.wait()
        for job in jobs:
            copy = DeliveryJob()
            copy.CopyFrom(job)
            self.sent.append(copy)
        if not self.answers:
            await asyncio.Event().wait()
        for job in jobs:
            if self.script is None:
                outcome = Outcome.sent(f"message-{len(self.sent)}")
            else:
                outcome = self.script(job)
            settle(job, outcome)

    async def check(self) -> None:
        """See Provider."""
        if self.problem is not None:
            raise self.problem

    async def close(self) -> None:
        """See Provider."""
        self.is_closed = True
