"""One tenant's bulk send, as fast as it is taken, at next to no cost of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc

from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    BatchSendNotificationsResponse,
)
from clarion.client.bench.probes import people
from clarion.client.building import notification
from clarion.client.client import Client

_METHOD = "/clarion.api.router.v1.NotificationService/BatchSendNotifications"
_BATCH = 500
_CALLS = 2
_EACH = 20
"""Fewer for a person than the limits of a day allow."""
_PAUSE = 0.2


@dataclass(slots=True)
class Backlog:
    """``count`` pushes in the low lane."""

    target: str
    key: str
    count: int
    name: str = "flood"
    accepted: int = 0
    ids: set[str] = field(default_factory=set)
    """Of what was accepted."""
    _asked: int = 0

    @property
    def _people(self) -> int:
        return -(-self.count // _EACH)

    async def load(self, client: Client) -> None:
        """Stores the people that it sends to."""
        await client.put_recipients(people(self.name, self._people))

    async def run(self) -> None:
        """Sends until all are accepted; what is refused is sent again."""
        # The same bytes again and again: without a key each is a notification of its
        # own, and encoding them before leaves the time to what is measured.
        bodies = [self._request(n, _BATCH) for n in range(-(-self._people // _BATCH))]
        metadata = (("authorization", f"Bearer {self.key}"),)
        async with grpc.aio.insecure_channel(self.target) as channel:
            call: Any = channel.unary_unary(
                _METHOD,
                request_serializer=None,
                response_deserializer=BatchSendNotificationsResponse.FromString,
            )

            async def send() -> None:
                while (left := self.count - self._asked) > 0:
                    size = min(left, _BATCH)
                    number = self._asked // _BATCH % len(bodies)
                    self._asked += size
                    taken = 0
                    try:
                        answer = await call(
                            bodies[number]
                            if size == _BATCH
                            else self._request(number, size),
                            metadata=metadata,
                            timeout=30,
                        )
                        taken = answer.accepted
                        self.ids.update(
                            one.notification.notification_id for one in answer.results
                        )
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                            raise
                    self.accepted += taken
                    self._asked -= size - taken
                    if taken < size:
                        await asyncio.sleep(_PAUSE)

            await asyncio.gather(*(send() for _ in range(_CALLS)))

    def _request(self, number: int, size: int) -> bytes:
        start = number * _BATCH
        return BatchSendNotificationsRequest(
            notifications=[
                notification(
                    f"{self.name}-{(start + n) % self._people}",
                    "order_confirmation",
                    title="Order confirmed",
                    message="Your order is on its way to you.",
                    channels=("push",),
                    priority="low",
                )
                for n in range(size)
            ]
        ).SerializeToString()
