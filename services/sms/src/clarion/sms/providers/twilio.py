"""Twilio's Messages API: one POST for each message, on connections that are kept."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Protocol
from urllib.parse import quote_plus

import aiohttp
from yarl import URL

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.clock import Clock
from clarion.runtime.config import Secret
from clarion.runtime.delivery import Outcome, Settle
from clarion.runtime.errors import UnavailableError
from clarion.runtime.streams import LANES
from clarion.sms import metrics
from clarion.sms.callback_url import callback_url
from clarion.sms.providers.twilio_errors import MISCONFIGURED, outcome_of
from clarion.sms.segments import count_segments

_log = logging.getLogger(__name__)

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

_KEEP_ALIVE_SECONDS = 30.0


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


class _Call:
    """One call of ``send``: how many of its jobs are not settled yet."""

    __slots__ = ("done", "left", "settle")

    def __init__(self, jobs: int, settle: Settle) -> None:
        self.left = jobs
        self.settle = settle
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


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
        self._url = URL(
            f"{settings.twilio_url.rstrip('/')}/2010-04-01/Accounts/"
            f"{settings.twilio_account_sid}/Messages.json"
        )
        self._queues: dict[str, deque[tuple[DeliveryJob, _Call]]] = {
            lane: deque() for lane in LANES
        }
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
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
        """Raises while Twilio refuses the account, its credentials or the sender."""
        if self._problem:
            raise UnavailableError(f"Twilio refuses us: error {self._problem}")

    async def close(self) -> None:
        """See Provider."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _wake(self, jobs: int) -> None:
        while jobs and self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                jobs -= 1
        while jobs and len(self._tasks) < self._settings.twilio_connections:
            number = len(self._tasks) + 1
            self._tasks.append(
                asyncio.create_task(self._work(), name=f"twilio connection {number}")
            )
            jobs -= 1

    async def _work(self) -> None:
        while True:
            job, call = await self._next()
            call.settle(job, await self._deliver(job))
            call.left -= 1
            if not call.left and not call.done.done():
                call.done.set_result(None)

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
            outcome = await self._post(self._form(job, text))
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

    async def _post(self, form: bytes) -> Outcome:
        session = self._session or self._open()
        status = 0
        try:
            async with session.post(
                self._url, data=form, allow_redirects=False
            ) as response:
                status = response.status
                body = await response.read()
                retry_after = response.headers.get("Retry-After")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            # No connection, so nothing has left. The wait for one is shorter than the
            # whole time allowed: a TimeoutError of another kind comes after this.
            return Outcome.retry("provider_unreachable")
        except (aiohttp.ClientError, TimeoutError, OSError) as lost:
            if status:
                # The answer broke off after its status: taken, or refused for a
                # reason that is lost, so that it has to be asked again.
                if status < 300:
                    return Outcome.sent()
                return Outcome.retry("provider_unavailable", str(status))
            timed_out = isinstance(lost, TimeoutError)
            return Outcome.unknown("timeout" if timed_out else "connection_lost")
        return outcome_of(status, body, retry_after, self._clock.now())

    def _open(self) -> aiohttp.ClientSession:
        settings = self._settings
        account = settings.twilio_account_sid
        secret = f"{account}:{settings.twilio_auth_token.reveal()}".encode()
        self._session = aiohttp.ClientSession(
            # As many connections as tasks: nobody waits for one inside aiohttp.
            connector=aiohttp.TCPConnector(
                limit=settings.twilio_connections,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(
                total=settings.twilio_timeout.total_seconds(),
                connect=settings.twilio_connect_timeout.total_seconds(),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Authorization": "Basic " + base64.b64encode(secret).decode(),
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "User-Agent": "clarion-sms",
            },
        )
        return self._session
