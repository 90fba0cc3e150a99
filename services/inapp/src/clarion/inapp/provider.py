"""The inbox as the provider of the in_app channel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.inapp.inbox import Inbox, Owner
from clarion.inapp.live import LiveChanges
from clarion.runtime.clock import Clock
from clarion.runtime.delivery import Outcome, RetryPolicy, Settle
from clarion.runtime.errors import UnavailableError
from clarion.runtime.retry import backoff

# Adding is idempotent, so nothing is ever unknown: while Postgres is down a job is
# tried on, first here and then through the schedule, for a day.
POLICY = RetryPolicy(waits=(timedelta(minutes=5),) * 288)
_PATIENCE_SECONDS = 60.0


class InboxProvider:
    """Implements clarion.runtime.delivery.Provider."""

    name = "inbox"

    def __init__(self, inbox: Inbox, live: LiveChanges, clock: Clock) -> None:
        self._inbox = inbox
        self._live = live
        self._clock = clock

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        try:
            owners = await self._add(jobs)
        except UnavailableError:
            outcome = Outcome.retry("inbox_unavailable")
        else:
            outcome = Outcome.sent()
            await self._live.publish(owners)
        for job in jobs:
            settle(job, outcome)

    async def _add(self, jobs: Sequence[DeliveryJob]) -> set[Owner]:
        give_up = self._clock.monotonic() + _PATIENCE_SECONDS
        attempt = 0
        while True:
            try:
                return await self._inbox.add(jobs, self._clock.now())
            except UnavailableError:
                attempt += 1
                wait = backoff(attempt, most=timedelta(seconds=5))
                if self._clock.monotonic() + wait.total_seconds() > give_up:
                    raise
                await asyncio.sleep(wait.total_seconds())

    async def check(self) -> None:
        """The pool's own readiness check says it."""

    async def close(self) -> None:
        """The pool is closed by the service."""
