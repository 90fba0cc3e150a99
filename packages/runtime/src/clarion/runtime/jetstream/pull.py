"""The wire part of a pull consumer: one inbox and a standing demand for messages."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import nats.errors

from clarion.runtime import streams as table
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream.declaration import declare_durable
from clarion.runtime.jetstream.errors import StreamApiError
from clarion.runtime.jetstream.inbound import Delivery, parse_delivery

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

_log = logging.getLogger(__name__)

_EXPIRES = timedelta(seconds=30)
_IDLE_HEARTBEAT = timedelta(seconds=5)
_PAUSE = 0.5
"""After an answer that comes at once while a leader is elected; without a pause the
loop asked 20 000 times per failover."""
_MIN_BYTES = 4 * 1024 * 1024
"""Above max_payload: a smaller demand could never be met."""


class PullSubscription:
    """Keeps asking a durable for messages and hands each to ``receive``.

    ``room`` tells how many messages and bytes may still be taken in; the demand never
    exceeds it (bytes: at most twice). New demand is sent when half of ``capacity`` is
    free. Call ``wake`` when room was made.
    """

    def __init__(
        self,
        streams: Streams,
        stream: str,
        durable: str,
        *,
        capacity: int,
        room: Callable[[], tuple[int, int]],
        receive: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        self._streams = streams
        self._name = f"{stream}.{durable}"
        self._spec = table.durable(stream, durable)
        self._capacity = capacity
        self._room = room
        self._receive = receive
        self._demanded = 0
        self._wake = asyncio.Event()
        self._seen_at = 0.0
        self._not_before = 0.0
        self._is_missing = False
        self._subscription: Any = None
        self._inbox = ""
        self._forget: Callable[[], None] = lambda: None
        self._stopped = False

    async def run(self) -> None:
        """Pulls until ``stop``."""
        loop = asyncio.get_running_loop()
        self._inbox = self._streams.nc.new_inbox()
        # The client drops what is above its limits; the demand is the limit here.
        self._subscription = await self._streams.nc.subscribe(
            self._inbox,
            cb=self._on_message,
            pending_msgs_limit=0,
            pending_bytes_limit=0,
        )
        self._forget = self._streams.on_reconnect(self._start_over)
        patience = 2.2 * _IDLE_HEARTBEAT.total_seconds()
        while not self._stopped:
            self._wake.clear()
            pause = self._not_before - loop.time()
            if pause <= 0:
                if self._is_missing:
                    await self._restore()
                await self._demand()
            try:
                async with asyncio.timeout(pause if pause > 0 else patience / 2):
                    await self._wake.wait()
            except TimeoutError:
                if self._demanded and loop.time() - self._seen_at > patience:
                    _log.warning("pull is silent", extra={"consumer": self._name})
                    self._demanded = 0

    async def stop(self) -> None:
        """Ends the demand; what is under way has been received when it returns."""
        self._stopped = True
        self._wake.set()
        self._forget()
        if self._subscription is None or self._streams.nc.is_closed:
            return
        try:
            # Not nc.drain(): UNSUB, wait for the PONG, empty the queue.
            async with asyncio.timeout(2):
                await self._subscription.drain()
        except (TimeoutError, nats.errors.Error):
            _log.warning("pull not drained", extra={"consumer": self._name})

    def wake(self) -> None:
        """There may be room again."""
        if not self._wake.is_set() and self._wanted() > 0:
            self._wake.set()

    def _wanted(self) -> int:
        messages, size = self._room()
        wanted = messages - self._demanded
        return wanted if wanted * 2 >= self._capacity and size > 0 else 0

    async def _demand(self) -> None:
        wanted = self._wanted()
        if wanted <= 0 or self._stopped or not self._streams.is_connected:
            return
        request = {
            "batch": wanted,
            "expires": _nanos(_EXPIRES),
            "idle_heartbeat": _nanos(_IDLE_HEARTBEAT),
            "max_bytes": max(self._room()[1], _MIN_BYTES),
        }
        self._demanded += wanted
        self._seen_at = asyncio.get_running_loop().time()
        try:
            await self._streams.nc.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._name}",
                json.dumps(request).encode(),
                reply=self._inbox,
            )
        except (nats.errors.Error, OSError):
            self._start_over()

    async def _restore(self) -> None:
        """Makes the durable again: a server that was started anew has forgotten it."""
        self._is_missing = False
        if self._spec is None or not self._spec.in_memory:
            return
        try:
            await declare_durable(self._streams.js, self._spec)
        except (StreamApiError, UnavailableError) as exc:
            _log.warning(
                "durable not made again",
                extra={"consumer": self._name, "detail": str(exc)},
            )

    async def _on_message(self, message: Any) -> None:
        now = asyncio.get_running_loop().time()
        self._seen_at = now
        if message.reply:
            delivery = parse_delivery(
                message.subject, message.reply, message.data, message.headers, now
            )
            if delivery is not None:
                self._demanded = max(self._demanded - 1, 0)
                await self._receive(delivery)
                self.wake()
                return
        self._on_status(message.headers or {}, now)

    def _on_status(self, headers: dict[str, str], now: float) -> None:
        status = headers.get("Status", "")
        description = headers.get("Description", "")
        # A completed batch has been counted message by message.
        if status in ("", "100") or description == "Batch Completed":
            return
        # 404 nothing there, 408 expired, 409 limits, deletion, leader change, 503 no
        # responder: all end one request, and most say how much of it was left.
        left = headers.get("Nats-Pending-Messages")
        self._demanded = max(self._demanded - int(left), 0) if left else 0
        if status == "503" or (status == "409" and "MaxBytes" not in description):
            self._not_before = now + _PAUSE
            self._is_missing = status == "503"
            _log.warning(
                "pull refused",
                extra={
                    "consumer": self._name,
                    "status": status,
                    "detail": description,
                },
            )
        self._wake.set()

    def _start_over(self) -> None:
        self._demanded = 0
        self._wake.set()


def _nanos(span: timedelta) -> int:
    return int(span / timedelta(microseconds=1)) * 1000
