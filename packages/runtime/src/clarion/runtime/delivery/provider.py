"""What the delivery pipeline asks of a channel: ports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.outcome import Outcome

Settle = Callable[[DeliveryJob, Outcome], None]
"""Tells the outcome of one job. Returns at once and never raises; only the first call
for a job counts. To be called on the event loop, with the very job that was given."""

Choose = Callable[["DeliveryJob"], "Provider"]
"""Which provider sends a job. Must not block; raising sends the job to the first."""

OnFailed = Callable[[Sequence[tuple[DeliveryJob, Outcome]]], Awaitable[None]]
"""Told about FAILED outcomes, for suppressions and dead tokens; must be idempotent.

Called with jobs of one tenant at a time (at most 500), inside ``as_tenant`` of that
tenant. When it raises or takes too long the call is repeated with backoff through a
durable schedule, job by job, until it works: it never holds up a delivery and is not
lost while what it calls is down."""


class Provider(Protocol):
    """One adapter of one third party."""

    name: str
    """Short and stable, a label: fcm, apns, smtp, twilio, inbox."""

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """Sends the jobs and settles each of them exactly once, as soon as it is known.

        Several calls run at the same time, of every lane; concurrency towards the
        third party is the adapter's, and it serves ``job.priority`` high first where
        jobs have to wait. Never raises for what a provider says or fails to say. Jobs
        are read only. A job left unsettled when the call ends counts as UNKNOWN.
        """
        ...

    async def check(self) -> None:
        """For readiness, polled: raises when the provider cannot be used (settings)."""
        ...

    async def close(self) -> None:
        """Called once, after the last send."""
        ...
