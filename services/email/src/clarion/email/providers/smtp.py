"""Mail by SMTP: a few kept-open connections, each sending whatever is next."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.email.mailbox import Mailbox, envelope_address
from clarion.email.message import build_message, message_id
from clarion.email.providers.smtp_connection import SmtpConnection, StaleError
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.clock import Clock
from clarion.runtime.delivery import Outcome, OutcomeKind, Settle
from clarion.runtime.errors import UnavailableError
from clarion.runtime.streams import LANES

_log = logging.getLogger(__name__)

_UNUSABLE = ("authentication_failed",)
"""Reasons that no mail of anybody gets through with these settings."""


class _Call:
    """One call of ``send``: its jobs that are not settled yet."""

    __slots__ = ("done", "left", "settle")

    def __init__(self, jobs: int, settle: Settle) -> None:
        self.left = jobs
        self.settle = settle
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SmtpProvider:
    """The Provider of one mail server. Connections open as they are needed."""

    name = "smtp"

    def __init__(
        self,
        server: SmtpUrl,
        sender: Mailbox,
        clock: Clock,
        *,
        connections: int = 8,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        self._server = server
        self._sender = sender
        self._clock = clock
        self._most = connections
        self._timeout = timeout
        self._queues: dict[str, deque[tuple[DeliveryJob, _Call]]] = {
            lane: deque() for lane in LANES
        }
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._problem = ""

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """See Provider."""
        if not jobs:
            return
        call = _Call(len(jobs), settle)
        for job in jobs:
            self._queues.get(job.priority, self._queues[LANES[-1]]).append((job, call))
        self._wake(len(jobs))
        await call.done

    async def check(self) -> None:
        """Raises while the server refuses the credentials."""
        if self._problem:
            raise UnavailableError(f"the mail server refuses us: {self._problem}")

    async def close(self) -> None:
        """See Provider."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _wake(self, jobs: int) -> None:
        while jobs and self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                jobs -= 1
        while jobs and len(self._tasks) < self._most:
            number = len(self._tasks) + 1
            self._tasks.append(
                asyncio.create_task(self._work(), name=f"smtp connection {number}")
            )
            jobs -= 1

    async def _work(self) -> None:
        connection = SmtpConnection(self._server, self._timeout)
        try:
            while True:
                job, call = await self._next()
                outcome = await self._deliver(connection, job)
                self._problem = (
                    outcome.provider_code if outcome.reason in _UNUSABLE else ""
                )
                call.settle(job, outcome)
                call.left -= 1
                if not call.left and not call.done.done():
                    call.done.set_result(None)
        finally:
            await connection.close()

    async def _next(self) -> tuple[DeliveryJob, _Call]:
        """The next job, of the highest lane that has one."""
        while True:
            for lane in LANES:
                queue = self._queues[lane]
                while queue:
                    job, call = queue.popleft()
                    # A call that was cancelled leaves its jobs to whoever gets them.
                    if not call.done.done():
                        return job, call
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(turn)
            await turn

    async def _deliver(self, connection: SmtpConnection, job: DeliveryJob) -> Outcome:
        to = envelope_address(job.target.address)
        if to is None:
            return Outcome.failed("invalid_address")
        started = self._clock.monotonic()
        try:
            mail = build_message(job, to, self._sender, self._clock.now())
            try:
                outcome = await connection.send(self._sender.address, to, mail)
            except StaleError:
                # Nothing has left, so this is not a second try of anything.
                outcome = await connection.send(self._sender.address, to, mail)
        except Exception:  # a bug: one mail is lost to it, not the connection's task
            _log.exception("mail not sent", extra={"delivery_id": job.delivery_id})
            connection.drop()
            return Outcome.unknown("provider_error")
        latency = timedelta(seconds=self._clock.monotonic() - started)
        known_as = outcome.provider_message_id
        if outcome.kind is OutcomeKind.SENT and not known_as:
            known_as = message_id(job, self._sender)
        return Outcome(
            outcome.kind,
            outcome.reason,
            known_as,
            outcome.provider_code,
            outcome.retry_after,
            outcome.suppress,
            latency,
        )
