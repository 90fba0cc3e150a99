"""One delivery in the hands of the worker, from its message to its storage."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from opentelemetry.trace import Span

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.attempts import Verdict
from clarion.runtime.delivery.claims import Claim, ClaimState
from clarion.runtime.delivery.outcome import Outcome


class Ticket:
    """The wait for a number of entries to be stored."""

    __slots__ = ("done", "left")

    def __init__(self, entries: int) -> None:
        self.left = entries
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not entries:
            self.done.set_result(None)

    def stored(self) -> None:
        """One entry is stored in all its parts."""
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        """One cannot be stored; the wait raises the first such error."""
        if not self.done.done():
            self.done.set_exception(error)
            # Whoever waited may have been cancelled: that is no error of its own.
            self.done.exception()


class Entry:
    """A job and what becomes of it. Plain and mutable: there are thousands a second."""

    __slots__ = (
        "at",
        "attempt",
        "claim",
        "job",
        "lane",
        "latency",
        "outcome",
        "owner",
        "provider",
        "retry_at",
        "span",
        "ticket",
        "verdict",
    )

    def __init__(self, job: DeliveryJob, owner: str, lane: str) -> None:
        self.job = job
        self.owner = owner
        """Who claims it: this process and this delivery of the message."""
        self.lane = lane
        self.attempt: int = job.attempt or 1
        """Of this call; ``job.attempt`` becomes the next one's when it is stored."""
        self.claim: Claim
        self.ticket: Ticket
        self.at: datetime
        """When it was settled."""
        self.provider = ""
        self.outcome: Outcome | None = None
        """Set once, when it is settled by a provider."""
        self.latency: timedelta | None = None
        self.verdict: Verdict | None = None
        self.retry_at: datetime | None = None
        self.span: Span | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether it may have been sent before, by a worker that then died."""
        return self.claim.state is ClaimState.TAKEN_OVER
