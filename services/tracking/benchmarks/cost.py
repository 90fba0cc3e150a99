"""CPU time that tracking takes for one notification, Python and PostgreSQL apart.

Events as the mesh makes them: a DECIDED and 1.2 SENT a notification, in chunks of 256.
The SENT come right behind their DECIDED (``together``), or so many chunks later that
another batch has the decision (``apart``). Starts a PostgreSQL of its own, fsync on.

Usage: python services/tracking/benchmarks/cost.py [notifications] [--profile]
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import psutil
import psycopg

from clarion.api.event.v1 import notification_event_pb2 as pb2
from clarion.client.embedded.servers import PostgresServer
from clarion.runtime import ids
from clarion.runtime.clock import SystemClock
from clarion.runtime.jetstream import Inbound
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.tracking import consumers
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.consumers import EventsHandler
from clarion.tracking.writer import Writer

CHUNK = 256
TYPES = ("order_confirmation", "shipment_update", "security_alert", "newsletter")
CHANNELS = ("push", "push", "push", "push", "push", "email", "sms", "in_app")
LAGS = {"together": 0, "apart": 24}
"""In chunks."""
MOST_BYTES = getattr(consumers, "MOST_BYTES", 1024 * 1024)
WARM_UP = 4
"""Chunks that are not measured."""


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    count = int(words[0]) if words else 30_000
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        asyncio.run(measure(Path(folder), count, "--profile" in sys.argv))


async def measure(folder: Path, count: int, is_profiled: bool) -> None:
    async with PostgresServer(folder / "postgres") as server:
        migrate(server.url, "tracking", migrations_of("tracking"))
        result = {}
        for name, lag in LAGS.items():
            result[name] = await measured(server, count, lag, is_profiled)
            click.echo(f"{name} {json.dumps(result[name])}", err=True)
        click.echo(json.dumps(result))


async def measured(
    server: PostgresServer, count: int, lag: int, is_profiled: bool
) -> dict[str, float]:
    handler_pool = await open_pool(server.url, "tracking")
    handler = EventsHandler(
        Writer(handler_pool, Arrivals()), SystemClock(), timedelta(days=90), no_sleep
    )
    chunks = [chunk.SerializeToString() for chunk in in_order(count, lag)]
    await handler([inbound(body) for body in made(0, WARM_UP * CHUNK)])
    await handler([inbound(chunks[0])])
    batches = list(batched(chunks[1:]))
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as in a service
    before, wal = postgres_seconds(server), wal_bytes(server.url)
    started, wall = time.process_time(), time.monotonic()
    profile = cProfile.Profile()
    if is_profiled:
        profile.enable()
    for batch in batches:
        await handler(batch)
    profile.disable()
    python = time.process_time() - started
    elapsed = time.monotonic() - wall
    written = wal_bytes(server.url) - wal
    await asyncio.sleep(0.3)  # what its background writers still do for these
    postgres = postgres_seconds(server) - before
    await handler_pool.close()
    if is_profiled:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(28)
    return {
        "python_us": round(python / count * 1e6, 1),
        "postgres_us": round(postgres / count * 1e6, 1),
        "sum_us": round((python + postgres) / count * 1e6, 1),
        "wal_bytes": round(written / count),
        "event_bytes": round(sum(map(len, chunks)) / count),
        "batches": len(batches),
        "notifications_per_second": round(count / elapsed),
    }


def in_order(count: int, lag: int) -> Iterator[pb2.EventChunk]:
    waiting: list[pb2.EventChunk] = []
    for at in range(0, count, CHUNK):
        decided, sent = pb2.EventChunk(), pb2.EventChunk()
        for n in range(at, min(at + CHUNK, count)):
            add_story(decided, sent, n)
        yield decided
        waiting.append(sent)
        if len(waiting) > lag:
            yield waiting.pop(0)
    yield from waiting


def made(first: int, count: int) -> list[bytes]:
    return [chunk.SerializeToString() for chunk in in_order(count, 0)]


def add_story(decided: pb2.EventChunk, sent: pb2.EventChunk, n: int) -> None:
    """One notification: every fifth goes to a second device."""
    now = datetime.now(UTC)
    id = ids.uuid7(now)
    user, type_ = f"user-{n * 7919 % 1_000_000}", TYPES[n % len(TYPES)]
    channel = CHANNELS[n % len(CHANNELS)]
    about = {"tenant_id": "demo", "notification_id": id, "user_id": user, "type": type_}
    event = decided.events.add(
        event_id=ids.event_id(id, "decided", "0"), kind=pb2.EVENT_KIND_DECIDED, **about
    )
    event.occurred_time.FromDatetime(now)
    asked = event.decided.notification
    asked.user_id, asked.type, asked.template_id = user, type_, type_
    asked.channels.append(channel)
    asked.data.update(
        {"order_id": f"A-{n}", "name": "Ada Lovelace", "total": 129.9, "items": ["one"]}
    )
    event.decided.accepted_time.FromDatetime(now)
    event.decided.key_id = "key-1"
    decision = event.decided.decision
    decision.category, decision.priority = "order_updates", "medium"
    decision.decided_time.FromDatetime(now)
    choice = decision.channels.add(channel=channel, outcome="planned")
    choice.template_id, choice.template_version = type_, 3
    for device in range(2 if n % 5 == 0 else 1):
        delivery = ids.delivery_id(id, channel, f"token-{n}-{device}")
        choice.deliveries.add(delivery_id=delivery, device_id=f"device-{n}-{device}")
        told = sent.events.add(
            event_id=ids.event_id(delivery, "sent", "1"),
            kind=pb2.EVENT_KIND_SENT,
            channel=channel,
            delivery_id=delivery,
            **about,
        )
        told.occurred_time.FromDatetime(now + timedelta(milliseconds=40))
        attempt = told.attempt
        attempt.attempt, attempt.provider = 1, "fcm"
        attempt.provider_message_id = f"projects/demo/messages/{n:016x}{device}"
        attempt.provider_latency.FromTimedelta(timedelta(milliseconds=20))
        attempt.accept_to_provider.FromTimedelta(timedelta(milliseconds=40))


def batched(chunks: list[bytes]) -> Iterator[list[Inbound]]:
    """As the consumer makes batches of a backlog."""
    batch: list[Inbound] = []
    size = 0
    for body in chunks:
        size += len(body)
        if batch and size > MOST_BYTES:
            yield batch
            batch, size = [], len(body)
        batch.append(inbound(body))
    yield batch


def inbound(body: bytes) -> Inbound:
    return Inbound("events.bench", body, {}, "EVENTS", 1, 1, datetime.now(UTC))


def postgres_seconds(server: PostgresServer) -> float:
    """All its processes; those that have ended are in the first one's account."""
    first = psutil.Process(server.pid)
    times = [process.cpu_times() for process in (first, *first.children())]
    ended = times[0].children_user + times[0].children_system
    return ended + sum(time.user + time.system for time in times)


def wal_bytes(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        ).fetchone()
        assert row is not None
        return int(row[0])


async def no_sleep(seconds: float) -> None:
    """A benchmark does not wait for more."""


if __name__ == "__main__":
    main()
