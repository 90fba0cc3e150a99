"""One connection to NATS, and what a service does with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import nats.errors

from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream.api import StreamApi
from clarion.runtime.jetstream.dead_letters import DeadLetters
from clarion.runtime.jetstream.nats_client import NatsClient
from clarion.runtime.jetstream.publisher import JetStreamPublisher
from clarion.runtime.jetstream.scheduler import JetStreamScheduler

_log = logging.getLogger(__name__)

_QUIET = 5.0
"""Seconds between two log lines about the same trouble: reconnecting fails often."""


class Streams:
    """A NATS connection that outlives its servers, and JetStream on it.

    Reconnects for ever. It closes only by ``close()`` or when the server refuses it
    for good (credentials); the latter resolves ``lost``, which a service awaits to
    end itself, for a closed connection never comes back.
    """

    def __init__(self, *, compresses: bool = True) -> None:
        self.nc: Any = NatsClient()
        self.js = StreamApi(self.nc)
        self.publisher = JetStreamPublisher(self, compresses=compresses)
        self.scheduler = JetStreamScheduler(self)
        self.dead_letters = DeadLetters(self)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closing = False
        self._connected = asyncio.Event()
        self._on_reconnect: list[Callable[[], None]] = []
        self._logged_at: dict[str, float] = {}

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str = "clarion",
        start_timeout: timedelta = timedelta(seconds=60),
        compresses: bool = True,
    ) -> Streams:
        """Connects to one server or several (comma-separated URLs).

        Waits for a server that is not there yet; after ``start_timeout`` raises
        UnavailableError. ``compresses`` is whether large messages are stored
        compressed; they are read either way.
        """
        self = cls(compresses=compresses)
        options = {
            "servers": [part.strip() for part in url.split(",")],
            "name": name,
            "connect_timeout": 2,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.5,
            "ping_interval": 10,
            "max_outstanding_pings": 2,
            "drain_timeout": 5,
            "flush_timeout": 5,
            "error_cb": self._error,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "closed_cb": self._closed,
        }
        try:
            async with asyncio.timeout(start_timeout.total_seconds()):
                await self.nc.connect(**options)
        except (TimeoutError, nats.errors.Error, OSError) as exc:
            self._closing = True
            await self.nc.close()
            raise UnavailableError("no NATS server answers") from exc
        self._connected.set()
        return self

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return bool(self.nc.is_connected)

    async def wait_connected(self, seconds: float) -> None:
        """Returns when there is a connection; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._connected.wait()

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        """Calls back after each reconnect; the answer removes the callback."""
        self._on_reconnect.append(call)
        return lambda: self._on_reconnect.remove(call)

    async def check(self) -> None:
        """For readiness: raises UnavailableError while JetStream does not answer."""
        if not self.is_connected:
            raise UnavailableError("not connected to NATS")
        try:
            await self.nc.request("$JS.API.INFO", b"", timeout=2)
        except (TimeoutError, nats.errors.Error) as exc:
            raise UnavailableError("JetStream does not answer") from exc

    async def close(self) -> None:
        """Sends what is buffered and closes. Stop consumers before."""
        self._closing = True
        if self.nc.is_closed:
            return
        if self.is_connected:
            try:
                await self.nc.flush(timeout=2)
            except (TimeoutError, nats.errors.Error):
                _log.warning("nats flush failed at close")
        await self.nc.close()

    async def _error(self, error: Exception) -> None:
        kind = type(error).__name__
        now = asyncio.get_running_loop().time()
        if now - self._logged_at.get(kind, -_QUIET) >= _QUIET:
            self._logged_at[kind] = now
            _log.warning("nats error", extra={"error": kind, "detail": str(error)})

    async def _disconnected(self) -> None:
        self._connected.clear()
        if not self._closing:
            _log.warning("nats disconnected")

    async def _reconnected(self) -> None:
        self._connected.set()
        _log.info("nats reconnected")
        for call in list(self._on_reconnect):
            call()

    async def _closed(self) -> None:
        if not self._closing and not self.lost.done():
            error = self.nc.last_error
            _log.error("nats connection closed for good", extra={"detail": str(error)})
            self.lost.set_result(str(error or "closed"))
