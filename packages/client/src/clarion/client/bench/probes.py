"""Single sends at a low, steady rate, and how long each took to its provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.client.building import notification
from clarion.client.client import Client
from clarion.client.errors import ApiError

PEOPLE = 50


@dataclass(slots=True)
class Probe:
    """One sender: so many pushes of one lane a second, each timed."""

    name: str
    client: Client
    priority: str
    per_second: float
    sent_ms: dict[str, float] = field(default_factory=dict)
    """By notification, in milliseconds of the Unix epoch, when its call began."""
    refused: int = 0

    async def load(self) -> None:
        """Stores the people that it sends to."""
        await self.client.put_recipients(people(self.name, PEOPLE))

    async def run(self, seconds: float) -> None:
        """Sends for so long, whether earlier ones were answered or not."""
        loop = asyncio.get_running_loop()
        calls: list[asyncio.Task[None]] = []
        started = loop.time()
        for number in range(int(seconds * self.per_second)):
            await asyncio.sleep(started + number / self.per_second - loop.time())
            calls.append(asyncio.create_task(self._send(number)))
        await asyncio.gather(*calls)

    async def _send(self, number: int) -> None:
        called = time.time() * 1000
        one = notification(
            f"{self.name}-{number % PEOPLE}",
            "ride_arriving",
            title="Your ride is here",
            message="The car waits at the corner.",
            channels=("push",),
            priority=self.priority,
        )
        try:
            answer = await self.client.send(one)
        except ApiError:
            self.refused += 1
        else:
            self.sent_ms[answer.notification_id] = called


def people(name: str, count: int) -> Sequence[Recipient]:
    """People with one Android device each."""
    return [
        Recipient(
            user_id=f"{name}-{number}",
            display_name=f"Person {number}",
            locale="en",
            time_zone="UTC",
            devices=[Device(platform="android", token=f"fcm-{name}-{number}")],
        )
        for number in range(count)
    ]
