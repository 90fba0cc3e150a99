"""Twilio's Messages API: one POST for each message, on connections that are kept."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Protocol
from urllib.parse import quote_plus

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.clock import Clock
from clarion.runtime.config import Secret
from clarion.runtime.delivery import LaneWorkers, Outcome, Settle
from clarion.runtime.errors import UnavailableError
from clarion.runtime.http.transport import Answer, Failure, Limits, Transport
from clarion.runtime.http.trust import Trust
from clarion.sms import metrics
from clarion.sms.callback_url import callback_url
from clarion.sms.providers.twilio_errors import MISCONFIGURED, outcome_of
from clarion.sms.segments import count_segments

_log = logging.getLogger(__name__)

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class TwilioSettings(Protocol):
    """What the adapter wants to know; clarion.sms.settings has it."""

    @property
    def twilio_url(self) -> str: ...
    @property
    def twilio_account_sid(self) -> str: ...
    @property
    def twilio_auth_token(self) -> Secret: ...
    @property
    def twilio_from(self) -> str: ...
    @property
    def public_url(self) -> str: ...
    @property
    def twilio_connections(self) -> int: ...
    @property
    def twilio_connect_timeout(self) -> timedelta: ...
    @property
    def twilio_timeout(self) -> timedelta: ...
    @property
    def sms_max_segments(self) -> int: ...


class TwilioProvider:
    """The Provider of one Twilio account.

    Connections open as they are needed, up to the limit; who has to wait for one is
    served by lane, high first.
    """

    name = "twilio"

    def __init__(self, settings: TwilioSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._public_url = settings.public_url.rstrip("/")
        sender = settings.twilio_from
        field = "MessagingServiceSid" if sender.startswith("MG") else "From"
        self._sender = f"{field}={quote_plus(sender)}"
        account = settings.twilio_account_sid
        self._path = f"/2010-04-01/Accounts/{account}/Messages.json"
        secret = f"{account}:{settings.twilio_auth_token.reveal()}".encode()
        self._headers = [
            f"Authorization: Basic {base64.b64encode(secret).decode()}",
            "Content-Type: application/x-www-form-urlencoded",
            "Accept: application/json",
            "User-Agent: clarion-sms",
        ]
        self._workers = LaneWorkers(
            "twilio connection",
            settings.twilio_connections,
            lambda: nullcontext(self._deliver),
        )
        self._transport: Transport | None = None
        self._problem = ""

    async def send(self, jobs: Sequence[DeliveryJob], settle: Settle) -> None:
        """See Provider."""
        await self._workers.send(jobs, settle)

    async def check(self) -> None:
        """Raises while Twilio refuses the account, its credentials or the sender."""
        if self._problem:
            raise UnavailableError(f"Twilio refuses us: error {self._problem}")

    async def close(self) -> None:
        """See Provider."""
        await self._workers.close()
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def _deliver(self, job: DeliveryJob) -> Outcome:
        text = job.content.body or job.content.title
        if not _E164.fullmatch(job.target.address):
            return Outcome.failed("invalid_address")
        if not text.strip():
            return Outcome.failed("empty_message")
        segments = count_segments(text).count
        if segments > self._settings.sms_max_segments:
            return Outcome.failed("message_too_long")
        started = self._clock.monotonic()
        try:
            outcome = await self._post(self._form(job, text), job.priority)
        except Exception:  # a bug: one message is lost to it, not the worker's task
            _log.exception("text not sent", extra={"delivery_id": job.delivery_id})
            return Outcome.unknown("provider_error")
        if outcome.provider_message_id:
            metrics.record_segments(segments)
            self._problem = ""
        elif outcome.reason == MISCONFIGURED:
            self._problem = outcome.provider_code
        latency = timedelta(seconds=self._clock.monotonic() - started)
        return replace(outcome, latency=latency)

    def _form(self, job: DeliveryJob, text: str) -> bytes:
        callback = quote_plus(callback_url(self._public_url, job))
        to = quote_plus(job.target.address)
        body = quote_plus(text)
        return f"To={to}&{self._sender}&Body={body}&StatusCallback={callback}".encode()

    async def _post(self, form: bytes, lane: str) -> Outcome:
        transport = self._transport or self._open()
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        transport.post(self._path, self._headers, form, _take, answered, lane)
        answer = await answered
        if answer.failure is Failure.NOT_SENT:
            return Outcome.retry("provider_unreachable")
        if answer.failure is Failure.NO_ANSWER:
            timed_out = answer.error == "operation_timedout"
            return Outcome.unknown("timeout" if timed_out else "connection_lost")
        if answer.error and answer.status >= 300:
            # The answer broke off: refused for a reason that is lost, so that it has
            # to be asked again. After a status of success it was taken.
            return Outcome.retry("provider_unavailable", str(answer.status))
        retry_after = answer.header("Retry-After")
        return outcome_of(answer.status, answer.body, retry_after, self._clock.now())

    def _open(self) -> Transport:
        settings = self._settings
        self._transport = Transport(
            settings.twilio_url,
            Trust().path,
            # As many connections as tasks: nobody waits for one inside libcurl.
            Limits(
                in_flight=settings.twilio_connections,
                plain_connections=settings.twilio_connections,
                connect_timeout=settings.twilio_connect_timeout,
                timeout=settings.twilio_timeout,
                multiplex=False,
            ),
        )
        return self._transport


def _take(answered: asyncio.Future[Answer], answer: Answer) -> None:
    if not answered.done():  # its task may have been ended
        answered.set_result(answer)
