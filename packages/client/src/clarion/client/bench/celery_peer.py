"""Runs the Celery peer: its tables, its workers, and the producer that feeds them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psutil
import psycopg

from clarion.client.bench.people import user_id
from clarion.client.bench.traffic import STRIDE, example
from clarion.client.embedded.errors import StartError
from clarion.runtime.struct_values import python_values

_TABLES = """
CREATE SCHEMA peers;
CREATE TABLE peers.person (
    user_id text PRIMARY KEY, email text NOT NULL, phone_number text NOT NULL,
    token text NOT NULL, wishes jsonb NOT NULL
);
INSERT INTO peers.person
SELECT user_id, email, phone_number, 'fcm-' || user_id, '{"push": true}'
FROM recipients.person WHERE tenant_id = 'demo';
CREATE TABLE peers.result (
    notification_id text NOT NULL, channel text NOT NULL, user_id text NOT NULL,
    status text NOT NULL, accepted double precision NOT NULL,
    ended double precision NOT NULL, PRIMARY KEY (notification_id, channel)
);
"""
_LATENCY = """
SELECT count(*), max(ended) - min(accepted), percentile_cont(ARRAY[0.5, 0.99])
    WITHIN GROUP (ORDER BY (ended - accepted) * 1000)
FROM peers.result
"""
_PATIENCE = 30.0
_DATABASE = "/1"
_MODULE = "clarion.client.bench.celery_app"
_TASK = f"{_MODULE}.notify"
_QUEUE = "peers"


@dataclass(frozen=True, slots=True)
class PeerResult:
    """What the peer came to."""

    per_second: float
    """Notifications, from the first that was queued to the last result."""
    latency_ms: dict[str, float]
    tasks: int
    lost: int
    cpu_us: float
    """A notification, of producer and workers; without the servers."""


class CeleryPeer:
    """``async with CeleryPeer(urls, folder) as peer``; two worker processes."""

    def __init__(self, urls: Mapping[str, str], folder: Path, sink: str = "") -> None:
        broker = urlunsplit(urlsplit(urls["valkey"])._replace(path=_DATABASE))
        self._urls = urls
        self._log = folder / "celery.log"
        self._environment = {
            "PEER_BROKER_URL": broker,
            "PEER_POSTGRES_URL": urls["postgres"],
            "PEER_SINK_URL": sink,
        }
        self._worker: asyncio.subprocess.Process
        self._redis: Any = None
        self._app: Any = None

    async def __aenter__(self) -> Self:
        from celery import Celery
        from redis.asyncio import Redis

        self._app = Celery("producer", broker=self._environment["PEER_BROKER_URL"])
        self._redis = Redis.from_url(self._environment["PEER_BROKER_URL"])
        with psycopg.connect(self._urls["postgres"], autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS peers CASCADE")
            connection.execute(_TABLES)
        with self._log.open("ab") as log:
            self._worker = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    _MODULE,
                ),
                *("worker", "--concurrency", "2", "--loglevel", "WARNING"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._worker.returncode is None:
            self._worker.terminate()
            try:
                await asyncio.wait_for(self._worker.wait(), 10)
            except TimeoutError:
                self._worker.kill()
                await self._worker.wait()
        self._app.close()
        await self._redis.flushdb()
        await self._redis.aclose()

    async def run(
        self, count: int, users: int, window: int, rate: float | None = None
    ) -> PeerResult:
        """Sends so many notifications, at most ``window`` tasks waiting.

        With a rate, so many a second whatever waits.
        """
        await self._until_ready(users)
        before = self._cpu()
        tasks = await self._produce(count, users, window, rate)
        stored = await self._wait(tasks)
        cpu = self._cpu() - before
        with psycopg.connect(self._urls["postgres"]) as connection:
            row = connection.execute(_LATENCY).fetchone()
        assert row is not None
        seconds, (p50, p99) = row[1] or 1.0, row[2] or (0.0, 0.0)
        return PeerResult(
            round(count / max(seconds, 0.001), 1),
            {"p50": round(p50, 1), "p99": round(p99, 1)},
            tasks,
            tasks - stored,
            round(cpu * 1e6 / count, 1),
        )

    async def _until_ready(self, users: int) -> None:
        """The first task waits until the workers are up; it does not count."""
        await asyncio.to_thread(self._send, 0, users)
        if await self._wait(1) < 1:
            raise StartError(f"Celery did not start: {self._log.read_text()[-1000:]}")
        with psycopg.connect(self._urls["postgres"], autocommit=True) as connection:
            connection.execute("TRUNCATE peers.result")

    async def _produce(
        self, count: int, users: int, window: int, rate: float | None
    ) -> int:
        tasks = 0
        step = 50 if rate is None else max(1, int(rate / 20))
        began = time.monotonic()
        for first in range(0, count, step):
            if rate is None:
                await self._until_room(window)
            else:
                await asyncio.sleep(max(0, began + first / rate - time.monotonic()))

            def send(first: int = first) -> int:
                last = min(first + step, count)
                return sum(self._send(number, users) for number in range(first, last))

            tasks += await asyncio.to_thread(send)
        return tasks

    async def _until_room(self, window: int) -> None:
        while await self._redis.llen(_QUEUE) > window:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _send(self, number: int, users: int) -> int:
        message = example(number)
        data = python_values(message.data, dict, list)
        id_, person = uuid4().hex, user_id(number * STRIDE % users)
        channels = message.channels[:1] if number == 0 else message.channels
        for channel in channels:
            arguments = (id_, person, message.type, channel, data, time.time())
            self._app.send_task(_TASK, arguments, queue=_QUEUE)
        return len(channels)

    async def _wait(self, tasks: int) -> int:
        connection = await psycopg.AsyncConnection.connect(
            self._urls["postgres"], autocommit=True
        )
        async with connection:
            last, since = -1, time.monotonic()
            while True:
                rows = await connection.execute("SELECT count(*) FROM peers.result")
                row = await rows.fetchone()
                stored = int(row[0]) if row else 0
                if stored >= tasks or self._worker.returncode is not None:
                    return stored
                if stored != last:
                    last, since = stored, time.monotonic()
                elif time.monotonic() - since > _PATIENCE:
                    return stored
                await asyncio.sleep(0.1)

    def _cpu(self) -> float:
        worker = psutil.Process(self._worker.pid)
        family = [psutil.Process(), worker, *worker.children(recursive=True)]
        times = [one.cpu_times() for one in family]
        return sum(one.user + one.system for one in times)
