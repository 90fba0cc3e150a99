"""Posts what providers tell afterwards: receipts, events and messages from people."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from clarion.sandbox.http1_client import Http1Client
from clarion.sandbox.http1_frames import Http1Error

WORKERS = 32
"""Calls under way at once: who takes a receipt may answer when it is stored."""
LOG_LENGTH = 1000
_TIMEOUT = timedelta(seconds=10)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Post:
    """One webhook call. Signed when it is sent, because a signature carries a time."""

    provider: str
    event: str
    message_id: str
    url: str
    sign: Callable[[], tuple[dict[str, str], bytes]]
    """Headers and body of an attempt."""
    retries: tuple[timedelta, ...] = ()
    """Waits before further attempts."""
    retry_on_status: bool = False
    """Repeat after an answer that is no success too, not only without any answer."""


@dataclass(slots=True)
class Webhooks:
    """Where webhooks go that have no URL in the message itself; empty sends none."""

    twilio_inbound_url: str = ""
    sendgrid_events_url: str = ""


@dataclass(slots=True)
class ReceiptSender:
    """Sends posts in the order they fall due, a bounded number at a time."""

    webhooks: Webhooks = field(default_factory=Webhooks)
    sent: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    _queue: asyncio.Queue[tuple[int, Post]] = field(default_factory=asyncio.Queue)
    _workers: list[asyncio.Task[None]] = field(default_factory=list)
    _client: Http1Client = field(default_factory=lambda: Http1Client(_TIMEOUT))
    _generation: int = 0
    _pending: int = 0

    async def start(self) -> None:
        self._workers = [
            asyncio.create_task(self._work(), name=f"receipts-{number}")
            for number in range(WORKERS)
        ]

    async def stop(self) -> None:
        self.forget()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._client.close()

    def forget(self) -> None:
        """Drop what is planned but not sent yet, and the log."""
        self._generation += 1
        self._pending = 0
        self.sent.clear()
        self.failed.clear()
        self.log.clear()

    @property
    def pending(self) -> int:
        """Planned calls and posts that have not been made yet."""
        return self._pending

    def call_later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call after a while, unless the sandbox is reset before."""
        generation = self._generation
        self._pending += 1

        def due() -> None:
            if generation == self._generation:
                self._pending -= 1
                call()

        asyncio.get_running_loop().call_later(seconds, due)

    def send(self, post: Post) -> None:
        self._pending += 1
        self._queue.put_nowait((self._generation, post))

    def as_json(self) -> dict[str, Any]:
        return {
            "sent": dict(self.sent),
            "failed": dict(self.failed),
            "pending": self._pending,
            "newest": list(reversed(self.log)),
        }

    async def _work(self) -> None:
        while True:
            generation, post = await self._queue.get()
            if generation != self._generation:
                continue
            try:
                await self._deliver(post, generation)
            except Exception:
                logger.exception("receipt could not be sent")
            if generation == self._generation:
                self._pending -= 1

    async def _deliver(self, post: Post, generation: int) -> None:
        answered: int | str = ""
        attempts = 0
        for wait in (timedelta(0), *post.retries):
            if wait:
                await asyncio.sleep(wait.total_seconds())
            if generation != self._generation:
                return
            attempts += 1
            headers, body = post.sign()
            try:
                answered = await self._client.post(post.url, headers, body)
            except (OSError, Http1Error, ValueError) as exc:
                answered = type(exc).__name__
                continue
            if answered < 300 or not post.retry_on_status:
                break
        good = isinstance(answered, int) and answered < 300
        (self.sent if good else self.failed)[post.provider] += 1
        self.log.append(
            {
                "provider": post.provider,
                "event": post.event,
                "message_id": post.message_id,
                "url": post.url,
                "answered": answered,
                "attempts": attempts,
                "sent_time_ms": round(time.time() * 1000),
            }
        )
