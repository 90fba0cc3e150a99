"""The messages that a consumer has and has not settled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import nats.errors

from clarion.runtime.jetstream.inbound import Delivery

if TYPE_CHECKING:
    from clarion.runtime.jetstream.connection import Streams

_REMEMBERED = 16_384


class Holding:
    """Settles deliveries and keeps the unsettled ones from being redelivered.

    Acks are plain publishes, and some are lost with a server. Such a message comes
    again; when this process has handled it, it is acked and not handled twice.
    """

    def __init__(self, streams: Streams, ack_wait: timedelta) -> None:
        self._streams = streams
        self._ack_wait = ack_wait.total_seconds()
        self._held: dict[tuple[int, int], Delivery] = {}
        self._done: dict[tuple[int, int], None] = {}
        self._ended = False

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, delivery: Delivery) -> bool:
        """Whether it still waits for its settlement."""
        return delivery.key in self._held

    def unsettled(self) -> list[Delivery]:
        """Everything held."""
        return list(self._held.values())

    async def take_in(self, delivery: Delivery) -> bool:
        """Holds a delivery; False when this process has or had the message already."""
        key = delivery.key
        if key in self._done:
            await self._send([delivery.reply], b"+ACK")
            return False
        if (known := self._held.get(key)) is not None:
            known.reply = delivery.reply
            known.beaten_at = delivery.beaten_at
            return False
        self._held[key] = delivery
        return True

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Handled: never again."""
        self._remember(deliveries)
        await self._send([d.reply for d in deliveries], b"+ACK")

    async def terminate(self, delivery: Delivery, reason: str) -> None:
        """Given up: never again."""
        self._remember([delivery])
        await self._send([delivery.reply], f"+TERM {reason}".encode())

    async def nak(
        self, deliveries: Sequence[Delivery], delay: timedelta = timedelta(0)
    ) -> None:
        """Given back, to be delivered again (to anybody) after the delay."""
        for delivery in deliveries:
            self._held.pop(delivery.key, None)
        payload = b"-NAK"
        if delay:
            nanos = int(delay / timedelta(microseconds=1)) * 1000
            payload += b" " + json.dumps({"delay": nanos}).encode()
        await self._send([d.reply for d in deliveries], payload)

    async def beat(self) -> None:
        """Tells the server of what is held for long, until ``end``."""
        loop = asyncio.get_running_loop()
        while not self._ended:
            await asyncio.sleep(self._ack_wait / 6)
            if not self._streams.is_connected:
                continue
            now = loop.time()
            late = now - self._ack_wait / 3
            due = [d for d in self._held.values() if d.beaten_at <= late]
            for delivery in due:
                delivery.beaten_at = now
            await self._send([d.reply for d in due], b"+WPI")

    def end(self) -> None:
        """No more heartbeats. A flag, because nats-py swallows cancellations."""
        self._ended = True

    def _remember(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._held.pop(delivery.key, None)
            self._done[delivery.key] = None
        while len(self._done) > _REMEMBERED:
            del self._done[next(iter(self._done))]

    async def _send(self, replies: Iterable[str], payload: bytes) -> None:
        publish = self._streams.nc.publish
        try:
            for reply in replies:
                await publish(reply, payload)
        except (nats.errors.Error, OSError):
            # Unsettled for the server: it delivers again, take_in() folds it.
            return
