"""Mail by SMTP: a few kept-open connections, each sending whatever is next."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.email.mailbox import Mailbox, envelope_address
from clarion.email.message import build_message, message_id
from clarion.email.providers.smtp_connection import SmtpConnection, StaleError
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.clock import Clock
from clarion.runtime.delivery import LaneWorkers, Outcome, OutcomeKind, Settle
from clarion.runtime.delivery.lane_workers import Deliver
from clarion.runtime.errors import UnavailableError

_log = logging.getLogger(__name__)

_UNUSABLE = ("authentication_failed",)
"""Reasons that no mail of anybody gets through with these settings."""


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
        self._timeout = timeout
        self._workers = LaneWorkers("smtp connection", connections, self._connection)
        self._problem = ""

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """See Provider."""
        await self._workers.send(jobs, settle)

    async def check(self) -> None:
        """Raises while the server refuses the credentials."""
        if self._problem:
            raise UnavailableError(f"the mail server refuses us: {self._problem}")

    async def close(self) -> None:
        """See Provider."""
        await self._workers.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Deliver]:
        connection = SmtpConnection(self._server, self._timeout)

        async def deliver(job: DeliveryJob) -> Outcome:
            outcome = await self._deliver(connection, job)
            self._problem = outcome.provider_code if outcome.reason in _UNUSABLE else ""
            return outcome

        try:
            yield deliver
        finally:
            await connection.close()

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
