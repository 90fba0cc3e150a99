"""Sends encoded batches, several calls at a time, as fast as the queues allow."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import grpc.aio

from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsResponse,
)
from clarion.client.bench.queues import Depth, Queues
from clarion.client.bench.traffic import Traffic

_METHOD = "/clarion.api.router.v1.NotificationService/BatchSendNotifications"
_POLL_SECONDS = 0.1
_WORK_BYTES = 50
"""Of one notification in a queue, compressed with hundreds of others; turns a window of
notifications into bytes."""
_EVENT_BYTES = 200
"""Of the events of one."""
_COLLECTED_BYTES = 3 * 1024 * 1024
"""Of events. Tracking collects them for up to a second: so many are not behind yet."""
_RETRY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Gate:
    """Lets calls through while the queues hold less than a window of notifications."""

    def __init__(self, queues: Queues, window: int) -> None:
        self._queues = queues
        self._most = window * _WORK_BYTES
        self._most_events = max(window * _EVENT_BYTES, _COLLECTED_BYTES)
        self._open = asyncio.Event()
        self._open.set()
        self.depth = Depth()
        self.samples: list[Depth] = []

    async def watch(self) -> None:
        """Reads the queues until cancelled."""
        while True:
            self.depth = depth = await self._queues.depth()
            self.samples.append(depth)
            # Two may run away: the mesh behind accepting, and tracking behind the mesh.
            is_behind = depth.event_bytes >= self._most_events
            if depth.work_bytes < self._most and not is_behind:
                self._open.set()
            else:
                self._open.clear()
            await asyncio.sleep(_POLL_SECONDS)

    async def wait(self) -> None:
        """Returns when there is room."""
        await self._open.wait()


class Offering:
    """The load generator: ``calls`` batches of ``batch`` under way at once."""

    def __init__(
        self,
        target: str,
        keys: Sequence[str],
        traffic: Traffic,
        gate: Gate | None = None,
        *,
        batch: int = 1000,
        calls: int = 4,
    ) -> None:
        self._target = target
        self._metadata = cycle([(("authorization", f"Bearer {key}"),) for key in keys])
        self._traffic = traffic
        self._gate = gate
        self._batch = batch
        self._calls = calls
        self.accepted = 0
        self.deliveries = 0
        """Expected of what was accepted."""
        self.refused: Counter[str] = Counter()
        """Calls and items that were not accepted, by status."""
        self.call_ms: list[float] = []

    async def until(self, is_over: Callable[[], bool]) -> None:
        """Sends until it is over; returns when the last call is answered."""
        options = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]
        async with grpc.aio.insecure_channel(self._target, options) as channel:
            send: Any = channel.unary_unary(
                _METHOD,
                response_deserializer=BatchSendNotificationsResponse.FromString,
            )
            async with asyncio.TaskGroup() as group:
                for _ in range(self._calls):
                    group.create_task(self._caller(send, is_over))

    async def _caller(self, send: Any, is_over: Callable[[], bool]) -> None:
        while not is_over():
            if self._gate is not None:
                await self._gate.wait()
            first = self._traffic.position
            body, deliveries = self._traffic.batch(self._batch)
            started = time.monotonic()
            try:
                answer = await send(body, metadata=next(self._metadata), timeout=30)
            except grpc.aio.AioRpcError as error:
                self.refused[error.code().name] += 1
                if error.code() not in _RETRY:
                    raise
                await asyncio.sleep(0.1)
                continue
            self.call_ms.append((time.monotonic() - started) * 1000)
            self.accepted += answer.accepted
            if answer.rejected:
                for result in answer.results:
                    if result.HasField("error"):
                        self.refused[f"item: {result.error.code}"] += 1
                        deliveries -= self._traffic.deliveries(first + result.index)
            self.deliveries += deliveries
