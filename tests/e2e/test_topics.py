"""A topic in Postgres, told by real services, one of which is killed at it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats
import psutil
import pytest

from clarion.api.event.v1.work_pb2 import DeliveryChunk
from clarion.api.recipients.v1.recipient_pb2 import Recipient
from clarion.client import Client, notification
from clarion.client.embedded import Stack
from clarion.runtime.jetstream.compression import published
from clarion.runtime.streams import durable_name, part_of, stream_of

pytestmark = pytest.mark.e2e

SUBSCRIBERS = 20_000
PART = part_of("low.overflow", "demo")
REDELIVERED_AFTER = timedelta(seconds=4)
"""In place of half a minute, what a killed router had in hand comes again."""
MOST_MEMORY = 64 * 1024 * 1024
"""That a router may grow by: more than a page needs, less than the topic."""


@dataclass
class Mesh:
    """A stack without channels: what is planned stays in its stream."""

    stack: Stack
    client: Client
    jetstream: Any
    deliveries: Counter[str]
    people: set[str]
    _read_to: int = 0

    @property
    def router(self) -> psutil.Process:
        pid = self.stack.process("router").pid
        assert pid is not None
        return psutil.Process(pid)

    async def until(self, count: int, within: float = 60) -> None:
        """Reads deliveries until there are that many different ones."""
        async with asyncio.timeout(within):
            while len(self.deliveries) < count:
                await self._read()
                await asyncio.sleep(0.05)

    async def statuses(self, broadcast_id: str, count: int) -> dict[str, int]:
        """How a broadcast's notifications stand, once so many are decided."""
        async with asyncio.timeout(30):
            while True:
                record = await self.client.get(broadcast_id)
                statuses = dict(record.broadcast.statuses)
                if sum(statuses.values()) >= count:
                    return statuses
                await asyncio.sleep(0.1)

    async def _read(self) -> None:
        state = (await self.jetstream.stream_info("WORK")).state
        for sequence in range(max(self._read_to + 1, 1), state.last_seq + 1):
            message = await self.jetstream.get_msg("WORK", sequence)
            self._read_to = sequence
            data, _ = published(message.data, message.headers or {})
            for job in DeliveryChunk.FromString(data).jobs:
                self.deliveries[job.delivery_id] += 1
                self.people.add(job.user_id)

    async def redelivered(self, within: float = 30) -> int:
        """Waits until the low lane is done; how many messages came more than once."""
        async with asyncio.timeout(within):
            while True:
                info = await self.jetstream.consumer_info(
                    stream_of("intake"), durable_name("intake", PART)
                )
                if not (info.num_pending or info.num_ack_pending):
                    return int(info.delivered.consumer_seq - info.delivered.stream_seq)
                await asyncio.sleep(0.1)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    services = ("router", "recipients", "ratelimit", "templating", "tracking")
    async with Stack(tmp_path, services=services, sandbox=False, apart=True) as stack:
        connection = await nats.connect(stack.urls["nats"])
        jetstream = connection.jetstream()
        lane = (stream_of("intake"), durable_name("intake", PART))
        config = (await jetstream.consumer_info(*lane)).config
        wait = REDELIVERED_AFTER.total_seconds()
        await jetstream.add_consumer(lane[0], config.evolve(ack_wait=wait))
        async with Client(stack.urls["grpc"], stack.demo_key) as client:
            yield Mesh(stack, client, jetstream, Counter(), set())
        await connection.close()


def rest(stack: Stack, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"{stack.urls['rest']}{path}",
        None if body is None else json.dumps(body).encode(),
        {
            "authorization": f"Bearer {stack.demo_key}",
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


@pytest.mark.timeout(240)
async def test_a_topic_is_told_once_each_though_the_router_is_killed_twice(
    mesh: Mesh,
) -> None:
    people = [f"user-{number:06d}" for number in range(SUBSCRIBERS)]
    await mesh.client.put_recipients(
        [Recipient(user_id=who, email=f"{who}@example.com") for who in people]
    )
    assert await mesh.client.subscribe("news", people) == SUBSCRIBERS
    told = await mesh.client.broadcast(
        "news", notification("", "newsletter", title="Hello", channels=["email"])
    )
    assert told.status == "accepted"
    for share in (0.2, 0.6):
        await mesh.until(int(SUBSCRIBERS * share))
        mesh.stack.kill("router")
        await mesh.stack.wait_ready(30)
    before = mesh.router.memory_info().rss
    await mesh.until(SUBSCRIBERS)
    assert await mesh.redelivered() > 0  # what the killed ones had in hand
    assert mesh.router.memory_info().rss - before < MOST_MEMORY
    assert mesh.people == set(people)
    assert len(mesh.deliveries) == SUBSCRIBERS
    # What was told twice is counted once and listed once.
    assert await mesh.statuses(told.broadcast_id, SUBSCRIBERS) == {
        "processing": SUBSCRIBERS
    }
    made = mesh.client.notifications(broadcast_id=told.broadcast_id)
    listed = Counter([record.user_id async for record in made])
    assert listed == Counter(people)


async def test_a_topic_is_told_by_rest(mesh: Mesh) -> None:
    await mesh.client.put_recipients([Recipient(user_id="ada", email="a@example.com")])
    path = "/api/v1/topics/news"
    added = await asyncio.to_thread(
        rest, mesh.stack, f"{path}/subscribers", {"user_ids": ["ada"]}
    )
    assert added == {"added": 1}
    body = {"type": "newsletter", "title": "Hello", "channels": ["email"]}
    told = await asyncio.to_thread(rest, mesh.stack, f"{path}/notifications", body)
    assert set(told) == {"broadcast_id", "status"}
    await mesh.until(1)
    assert mesh.people == {"ada"}


async def test_a_broadcast_says_how_many_it_reached_also_where_nobody_subscribed(
    mesh: Mesh,
) -> None:
    await mesh.client.subscribe("news", ["ada", "ben"])
    for topic, count in (("news", 2), ("empty", 0)):
        one = notification("", "newsletter", title="Hello", channels=["email"])
        told = await mesh.client.broadcast(topic, one)
        record = await mesh.client.get(told.broadcast_id)
        assert record.status == "spread"
        assert record.broadcast.topic == topic
        assert (record.broadcast.subscribers, record.broadcast.is_complete) == (
            count,
            True,
        )


async def test_what_a_broadcast_made_is_listed_and_counted_also_by_state(
    mesh: Mesh,
) -> None:
    people = [f"user-{number:03d}" for number in range(250)]
    await mesh.client.put_recipients(
        [Recipient(user_id=who, email=f"{who}@example.com") for who in people]
    )
    await mesh.client.subscribe("news", [*people, "stranger"])
    one = notification("", "newsletter", title="Hello", channels=["email"])
    id = (await mesh.client.broadcast("news", one)).broadcast_id
    assert await mesh.statuses(id, 251) == {"processing": 250, "skipped": 1}
    found = [r async for r in mesh.client.notifications(broadcast_id=id)]
    assert sorted(r.user_id for r in found) == ["stranger", *people]
    assert len({r.notification_id for r in found}) == 251
    skipped = mesh.client.notifications(broadcast_id=id, status="skipped")
    assert [r.user_id async for r in skipped] == ["stranger"]
    path = f"/api/v1/notifications?broadcast_id={id}&status=skipped"
    (listed,) = (await asyncio.to_thread(rest, mesh.stack, path, None))["notifications"]
    assert (listed["user_id"], listed["broadcast_id"]) == ("stranger", id)
