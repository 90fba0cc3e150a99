"""Three ways of sending to the sandbox, with the time until each message arrived."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc.aio

from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsResponse,
    SendNotificationResponse,
)
from clarion.client.bench.traffic import Traffic
from clarion.client.demo.arrivals import Arrivals
from clarion.client.demo.result import compare, percentiles

_SERVICE = "/clarion.api.router.v1.NotificationService"
_TICK = 0.02
_WINDOW = 400
"""Notifications under way at most in the closed loop: shows the mesh's rate without a
queue's latency."""
_BATCH = 50
_PATIENCE = 30.0
_DEADLINE = 30


@dataclass(slots=True)
class Arrived:
    """What one way of sending came to."""

    sent_ms: dict[str, float] = field(default_factory=dict)
    """When the call with each was due, by notification, in ms of the epoch."""
    expected: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages at providers by notification and channel."""
    deliveries: int = 0
    """With those in-app."""
    arrived_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    def latency_ms(self) -> dict[str, float]:
        """p50 and p99 from sending to the provider."""
        return percentiles(self.sent_ms, self.arrived_ms)

    def per_second(self) -> float:
        """Notifications from the first send to the last arrival."""
        if not self.arrived_ms:
            return 0.0
        last = max(self.arrived_ms.values())
        seconds = (last - min(self.sent_ms.values())) / 1000
        return round(len(self.sent_ms) / max(seconds, 0.001), 1)


class Senders:
    """A load generator towards a mesh with the sandbox."""

    def __init__(
        self, target: str, key: str, traffic: Traffic, arrivals: Arrivals
    ) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._traffic = traffic
        self._arrivals = arrivals
        self._all = Arrived()
        self._one: Any = self._channel.unary_unary(
            f"{_SERVICE}/SendNotification",
            response_deserializer=SendNotificationResponse.FromString,
        )
        self._many: Any = self._channel.unary_unary(
            f"{_SERVICE}/BatchSendNotifications",
            response_deserializer=BatchSendNotificationsResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close()

    @property
    def accepted(self) -> int:
        """Notifications, of all ways together."""
        return len(self._all.sent_ms)

    @property
    def deliveries(self) -> int:
        """What they make, those in-app included."""
        return self._all.deliveries

    def compared(self) -> tuple[int, int]:
        """(lost, duplicated) at the providers, of all ways together."""
        return compare(self._all.expected, self._arrivals.counts)

    async def open_loop(self, rate: float, seconds: float) -> Arrived:
        """Sends on time, whatever the mesh does: a batch each 20 ms."""
        found = Arrived()
        began = time.time()
        sent = 0
        async with asyncio.TaskGroup() as calls:
            for tick in range(1, int(seconds / _TICK) + 1):
                due = began + tick * _TICK
                await asyncio.sleep(max(0.0, due - time.time()))
                count = int(tick * _TICK * rate) - sent
                if count:
                    sent += count
                    # Also when this one is late: then it is the latency's.
                    calls.create_task(self._batch(found, count, due * 1000))
        return await self._complete(found)

    async def closed_loop(self, count: int) -> Arrived:
        """Sends as fast as messages arrive."""
        found = Arrived()
        while len(found.sent_ms) < count:
            size = min(_BATCH, count - len(found.sent_ms))
            await self._batch(found, size, time.time() * 1000)
            await self._wait(found, _WINDOW)
        return await self._complete(found)

    async def unary(
        self, callers: int, seconds: float
    ) -> tuple[Arrived, dict[str, float]]:
        """Callers that send one by one; and the time of the calls themselves."""
        found = Arrived()
        took: dict[tuple[str, str], int] = {}
        end = time.monotonic() + seconds
        window = asyncio.create_task(self._follow())

        async def call() -> None:
            while time.monotonic() < end:
                number = self._traffic.position
                body, deliveries = self._traffic.batch(1)
                at = time.time() * 1000
                answer = await self._one(
                    body, metadata=self._metadata, timeout=_DEADLINE
                )
                took[answer.notification_id, ""] = round((time.time() * 1000 - at) * 10)
                self._note(found, answer.notification_id, number, at)
                found.deliveries += deliveries

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(callers):
                    group.create_task(call())
        finally:
            window.cancel()
        tenths = percentiles(dict.fromkeys(found.sent_ms, 0.0), took)
        call_ms = {name: round(value / 10, 1) for name, value in tenths.items()}
        return await self._complete(found), call_ms

    async def _batch(self, found: Arrived, size: int, at: float) -> None:
        first = self._traffic.position
        body, deliveries = self._traffic.batch(size)
        answer = await self._many(body, metadata=self._metadata, timeout=_DEADLINE)
        for result in answer.results:
            if result.HasField("notification"):
                id_ = result.notification.notification_id
                self._note(found, id_, first + result.index, at)
            else:
                deliveries -= self._traffic.deliveries(first + result.index)
        found.deliveries += deliveries

    def _note(self, found: Arrived, id_: str, number: int, at: float) -> None:
        found.sent_ms[id_] = at
        for channel in self._traffic.channels(number):
            if channel != "in_app":
                found.expected[id_, channel] += 1

    async def _follow(self) -> None:
        while True:
            await self._arrivals.follow()
            await asyncio.sleep(0.5)

    async def _wait(self, found: Arrived, most: int) -> None:
        """Until so few are under way; gives up when nothing comes any more."""
        last, since = -1, time.monotonic()
        arrived = self._arrivals.arrived_ms
        while True:
            await self._arrivals.follow()
            if len(arrived) != last:
                last, since = len(arrived), time.monotonic()
            # Every notification of the mix is one message at a provider.
            if self.accepted + len(found.sent_ms) - len(arrived) <= most:
                return
            if time.monotonic() - since > _PATIENCE:
                return
            await asyncio.sleep(0.02)

    async def _complete(self, found: Arrived) -> Arrived:
        """Waits for the rest, and adds it to all."""
        await self._wait(found, 0)
        arrived = self._arrivals.arrived_ms
        found.arrived_ms = {
            key: arrived[key] for key in found.expected if key in arrived
        }
        self._all.sent_ms |= found.sent_ms
        self._all.expected += found.expected
        self._all.deliveries += found.deliveries
        return found
