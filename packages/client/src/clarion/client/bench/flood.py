"""An open loop that offers more than is taken, and counts what it was told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import grpc.aio
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsResponse,
)
from clarion.client.bench.traffic import Traffic

_METHOD = "/clarion.api.router.v1.NotificationService/BatchSendNotifications"
_FULL = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
_STATUS = "grpc-status-details-bin"
_MOST_CALLS = 64
"""Under way at once; a client has some limit too."""
_DEADLINE = 30


class Flood:
    """Sends on time and never repeats."""

    def __init__(
        self, target: str, key: str, traffic: Traffic, *, batch: int = 500
    ) -> None:
        self._target = target
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._traffic = traffic
        self._batch = batch
        self._took: list[float] = []
        self.offered = 0
        self.accepted = 0
        self.deliveries = 0
        self.refused = 0
        """Notifications answered with RESOURCE_EXHAUSTED."""
        self.with_wait = 0
        """Of those the ones that were told when to come back."""
        self.failures: Counter[str] = Counter()
        """Notifications that failed otherwise, by status."""
        self.held_back = 0
        """Those that were due while too many calls waited for their answer."""

    def call_ms(self) -> dict[str, float]:
        """How long the calls took."""
        took = sorted(self._took) or [0.0]
        return {
            "p50": round(took[len(took) // 2], 1),
            "p99": round(took[min(len(took) - 1, len(took) * 99 // 100)], 1),
        }

    async def offer(self, rate: float, seconds: float) -> None:
        """Offers so many a second for so long; returns when all is answered."""
        async with grpc.aio.insecure_channel(self._target) as channel:
            send: Any = channel.unary_unary(
                _METHOD,
                response_deserializer=BatchSendNotificationsResponse.FromString,
            )
            began = time.monotonic()
            due = 0
            calls: set[asyncio.Task[None]] = set()
            while (elapsed := time.monotonic() - began) < seconds:
                while due + self._batch <= elapsed * rate:
                    due += self._batch
                    if len(calls) >= _MOST_CALLS:
                        self.held_back += self._batch
                        continue
                    call = asyncio.create_task(self._call(send))
                    calls.add(call)
                    call.add_done_callback(calls.discard)
                await asyncio.sleep(0.01)
            await asyncio.gather(*calls)

    async def _call(self, send: Any) -> None:
        first = self._traffic.position
        body, deliveries = self._traffic.batch(self._batch)
        self.offered += self._batch
        started = time.monotonic()
        try:
            answer = await send(body, metadata=self._metadata, timeout=_DEADLINE)
        except grpc.aio.AioRpcError as error:
            status = Status(code=error.code().value[0], message=error.details() or "")
            for key, value in error.trailing_metadata() or ():
                if key == _STATUS and isinstance(value, bytes):
                    status = Status.FromString(value)
            self._refused(status, self._batch)
            return
        finally:
            self._took.append((time.monotonic() - started) * 1000)
        self.accepted += answer.accepted
        self.deliveries += deliveries
        if answer.rejected:
            for result in answer.results:
                if result.HasField("error"):
                    self.deliveries -= self._traffic.deliveries(first + result.index)
                    self._refused(result.error, 1)

    def _refused(self, status: Status, count: int) -> None:
        if status.code != _FULL:
            self.failures[f"{status.code} {status.message}"[:80]] += count
            return
        self.refused += count
        if any(detail.Is(RetryInfo.DESCRIPTOR) for detail in status.details):
            self.with_wait += count
