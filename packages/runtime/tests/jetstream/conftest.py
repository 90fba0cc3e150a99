"""A real nats-server per test, and Clarion's streams on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clarion.runtime.jetstream import Consumer, Streams, declare_streams
from clarion.runtime.testing.nats_server import NatsProcess

MakeConsumer = Callable[..., Any]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsProcess]:
    server = NatsProcess(tmp_path / "nats")
    server.start()
    yield server
    server.kill()  # its store is thrown away


@pytest.fixture
async def streams(nats: NatsProcess) -> AsyncIterator[Streams]:
    connected = await Streams.connect(nats.url)
    await declare_streams(connected.js, 1)
    yield connected
    await connected.close()


@pytest.fixture
async def consume(streams: Streams) -> AsyncIterator[MakeConsumer]:
    """Starts a consumer of work.push.high, stopped at the end of the test."""
    started: list[Consumer] = []

    async def start(handle: Any, **options: Any) -> Consumer:
        options = {"stream": "WORK", "durable": "push-high", **options}
        consumer = Consumer(options.pop("streams", streams), handle=handle, **options)
        await consumer.start()
        started.append(consumer)
        return consumer

    yield start
    for consumer in started:
        await consumer.stop()


@pytest.fixture
def pending(streams: Streams) -> Any:
    """How many messages a stream holds."""

    async def count(stream: str = "WORK") -> int:
        answer = await streams.js.request(f"STREAM.INFO.{stream}")
        return int(answer["state"]["messages"])

    return count


@pytest.fixture
def emptied(pending: Any) -> Any:
    """Returns when a stream is empty: acks are plain publishes and take a moment."""

    async def wait(stream: str = "WORK") -> None:
        async with asyncio.timeout(10):
            while await pending(stream):  # noqa: ASYNC110 - the server's state
                await asyncio.sleep(0.01)

    return wait
