"""Real NATS and Valkey, and workers of the push channel on them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from clarion.api.event.v1 import notification_event_pb2 as event_pb
from clarion.api.event.v1.work_pb2 import (
    DeliveryChunk,
    DeliveryJob,
    IntakeChunk,
    IntakeItem,
)
from clarion.runtime.clock import SystemClock
from clarion.runtime.delivery.attempts import RetryPolicy
from clarion.runtime.delivery.chains import Chains
from clarion.runtime.delivery.claims import Claims
from clarion.runtime.delivery.follow_ups import FollowUps
from clarion.runtime.delivery.given_up import GivenUp
from clarion.runtime.delivery.in_memory import ScriptedProvider
from clarion.runtime.delivery.reached import ValkeyReached
from clarion.runtime.delivery.recorder import Recorder
from clarion.runtime.delivery.unsent import Unsent
from clarion.runtime.delivery.unsent_counts import ValkeyUnsentCounts
from clarion.runtime.delivery.worker import DeliveryWorker
from clarion.runtime.jetstream import Consumer, GroupPublisher, Streams
from clarion.runtime.jetstream.ports import NullObserver
from clarion.runtime.testing.stored import messages_of
from clarion.runtime.valkey import open_client

LEASE = timedelta(seconds=1)
QUICK = RetryPolicy(waits=(timedelta(0), timedelta(0)))

_numbers = itertools.count(1)


class Held(NullObserver):
    """Counts the calls that a consumer had to hold."""

    count = 0

    def held(self, durable: str, messages: int, error: BaseException) -> None:
        self.count += 1


@dataclass
class Running:
    """A worker and the consumer that feeds it."""

    consumer: Consumer
    worker: DeliveryWorker
    held: Held

    async def crash(self) -> None:
        """Leaves everything as it is; another worker gets the messages."""
        await self.consumer.stop(timedelta(0))


@dataclass
class Mesh:
    """The servers, and workers that were started on them."""

    streams: Streams
    redis: Redis
    stack: AsyncExitStack

    def claims(self, lease: timedelta = LEASE) -> Claims:
        return Claims(self.redis, lease=lease)

    def chains(self, streams: Any = None, **chain: bool) -> Chains:
        streams = streams or self.streams
        return Chains(
            self.redis,
            streams.publisher,
            streams.scheduler,
            ValkeyReached(self.redis),
            SystemClock(),
            **chain,
        )

    async def steps(self) -> list[IntakeItem]:
        """What was passed on to the router, each message once."""
        return [
            item
            async for message in messages_of(self.streams, "INTAKE")
            for item in IntakeChunk.FromString(message.data).items
        ]

    async def worker(
        self,
        provider: ScriptedProvider,
        *,
        policy: RetryPolicy = QUICK,
        lease: timedelta = LEASE,
        on_failed: Any = None,
        **chain: bool,
    ) -> Running:
        clock = SystemClock()
        streams = self.streams
        sink: GroupPublisher[bytes] = GroupPublisher(
            streams.publisher, "events.push", b"".join
        )
        follow_ups = on_failed and FollowUps(
            "push",
            on_failed,
            streams.scheduler,
            streams.dead_letters,
            clock,
            first_wait=timedelta(milliseconds=50),
        )
        claims = self.claims(lease)
        unsent = Unsent(
            ValkeyUnsentCounts(self.redis), streams.publisher, streams.scheduler, clock
        )
        recorder = Recorder(
            "push",
            marks=claims,
            event_sink=sink,
            scheduler=streams.scheduler,
            letters=streams.dead_letters,
            policy=policy,
            clock=clock,
            follow_ups=follow_ups,
            unsent=unsent,
            chains=self.chains(**chain),
        )
        worker = DeliveryWorker(
            "push",
            [provider],
            claims=claims,
            recorder=recorder,
            clock=clock,
            follow_ups=follow_ups,
            lease=lease,
        )
        held = Held()
        consumer = Consumer(
            streams,
            stream="WORK",
            durable="push-high",
            handle=worker.handler("high"),
            given_up=GivenUp(self.redis, unsent),
            observer=held,
        )
        await consumer.start()
        self.stack.push_async_callback(recorder.close, timedelta(0))
        self.stack.push_async_callback(consumer.stop, timedelta(0))
        return Running(consumer, worker, held)

    async def publish(self, *jobs: DeliveryJob) -> None:
        body = DeliveryChunk(jobs=jobs).SerializeToString()
        await self.streams.publisher.publish(
            "work.push.high", body, message_id=f"test-{next(_numbers)}"
        )

    async def events(self) -> list[event_pb.NotificationEvent]:
        """Every event so far, each id once."""
        found: dict[str, event_pb.NotificationEvent] = {}
        async for message in messages_of(self.streams, "EVENTS"):
            for event in event_pb.EventChunk.FromString(message.data).events:
                found.setdefault(event.event_id, event)
        return list(found.values())

    async def kinds(self) -> list[str]:
        """The kinds of the events, oldest first."""
        return [
            event_pb.EventKind.Name(event.kind).removeprefix("EVENT_KIND_")
            for event in await self.events()
        ]

    async def until(self, *kinds: str, timeout: float = 15.0) -> list[str]:
        """Waits for events of these kinds (each so often) and an empty queue."""
        seen: list[str] = []

        async def look() -> bool:
            seen[:] = await self.kinds()
            return all(seen.count(k) >= kinds.count(k) for k in kinds) and not (
                await self.pending("WORK")
            )

        await _wait_for(look, timeout)
        return seen

    async def pending(self, stream: str) -> int:
        answer = await self.streams.js.request(f"STREAM.INFO.{stream}")
        return int(answer["state"]["messages"])


async def _wait_for(condition: Callable[[], Any], timeout: float = 15.0) -> None:
    async with asyncio.timeout(timeout):
        while not await condition():  # noqa: ASYNC110 - a server's state
            await asyncio.sleep(0.02)


@pytest.fixture
async def older_redis(redis: Redis, valkey_url: str) -> AsyncIterator[Redis]:
    """A client of a server that does not know every command."""
    rules = ("on", "nopass", "~*", "&*", "+@all", "-msetex")
    await redis.execute_command("ACL", "SETUSER", "older", *rules)
    client = open_client(valkey_url.replace("://", "://older:any@"))
    yield client
    await client.aclose()


@pytest.fixture
def wait_for() -> Any:
    """As wait_until, for a condition that has to be awaited."""
    return _wait_for


@pytest.fixture
async def mesh(streams: Streams, redis: Redis) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        yield Mesh(streams, redis, stack)
