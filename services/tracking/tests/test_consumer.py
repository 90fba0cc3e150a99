"""The consumer on real NATS and PostgreSQL, and what happens when one goes away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from clarion.api.event.v1 import notification_event_pb2 as pb2
from clarion.client.embedded.servers import PostgresServer
from clarion.runtime import streams as table
from clarion.runtime.jetstream import Consumer, Inbound
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import FakeClock
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.consumers import EventsHandler
from clarion.tracking.writer import Writer

pytestmark = pytest.mark.integration


def consumer(streams, pool, make, **more):
    handler = EventsHandler(Writer(pool, Arrivals()), FakeClock(), make.HISTORY)
    return Consumer(
        streams,
        stream=table.EVENTS,
        durable=table.TRACKING_DURABLE,
        handle=handler,
        concurrency=2,
        **more,
    )


def chunks(make, notifications, size=20):
    """Chunks of the decisions and of the outcomes, the latter first: late decisions."""
    decided, sent = [], []
    for _ in range(notifications):
        n = make.id(datetime.now(UTC))
        push = make.delivery(n)
        decided.append(make.decided(n, {"push": [push]}))
        sent.append(make.attempt("sent", n, push, 1, at=1))
    events = sent + decided
    return [
        pb2.EventChunk(events=events[at : at + size])
        for at in range(0, len(events), size)
    ]


async def publish(streams, made, prefix="m"):
    for number, chunk in enumerate(made):
        await streams.publisher.publish(
            "events.test", chunk.SerializeToString(), message_id=f"{prefix}-{number}"
        )


async def pending(streams):
    info = await streams.js.request(
        f"CONSUMER.INFO.{table.EVENTS}.{table.TRACKING_DURABLE}"
    )
    return info["num_pending"] + info["num_ack_pending"]


async def until(condition, seconds=30):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.005)


async def until_done(streams):
    async def done():
        return await pending(streams) == 0

    await until(done)


def counts(url):
    """Numbers of events and of notifications by status, and what was counted."""
    with psycopg.connect(url, options="-c search_path=tracking") as connection:

        def one(text):
            return connection.execute(text).fetchone()[0]

        by_status = connection.execute(
            "SELECT status, count(*) FROM deliveries GROUP BY 1"
        )
        counted = connection.execute(
            "SELECT metric, category, sum(value)::int FROM counters"
            " WHERE grain = 'day' AND value <> 0 GROUP BY 1, 2"
        )
        return (
            one("SELECT count(*) FROM events"),
            one("SELECT count(*) FROM notifications"),
            dict(by_status.fetchall()),
            {(metric, category): n for metric, category, n in counted.fetchall()},
        )


def expected(number):
    counted = {
        (metric, "order_updates"): number for metric in ("accepted", "planned", "sent")
    }
    return 2 * number, number, {13: number}, counted


async def test_events_reach_the_tables(streams, pool, database, make):
    await publish(streams, chunks(make, 200))
    running = consumer(streams, pool, make)
    await running.start()
    await until_done(streams)
    await running.stop()
    assert counts(database) == expected(200)


@pytest.mark.parametrize(
    ("messages", "waits"), [(1, [0.05]), (767, [0.05]), (1024, [])]
)
async def test_small_batches_are_paced_and_a_backlog_is_not(
    writer, clock, make, messages, waits
):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    handler = EventsHandler(writer, clock, make.HISTORY, sleep)
    data = chunks(make, 1)[0].SerializeToString()
    inbound = Inbound("events.x", data, {}, "EVENTS", 1, 1, clock.now())
    await handler([inbound] * messages)
    assert waited == waits


@pytest.mark.parametrize(
    ("events", "seconds", "pace"),
    [(80, 0.1, 0.1), (100, 1, 0.05), (4000, 1, 0.5), (900, 0.1, 1.0), (40, 0.01, 0.1)],
)
async def test_the_more_events_come_the_longer_they_share_a_transaction(
    writer, clock, make, events, seconds, pace
):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    handler = EventsHandler(writer, clock, make.HISTORY, sleep)
    for told in (chunks(make, 1)[0], chunks(make, events // 2, events)[0]):
        data = told.SerializeToString()
        await handler([Inbound("events.x", data, {}, "EVENTS", 1, 1, clock.now())])
        clock.advance(timedelta(seconds=seconds))
    assert waited == pytest.approx([0.05, pace])


async def test_events_that_come_twice_count_once(streams, pool, database, make):
    made = chunks(make, 100)
    await publish(streams, made, "first")
    await publish(streams, made, "second")
    running = consumer(streams, pool, make)
    await running.start()
    await until_done(streams)
    await running.stop()
    assert counts(database) == expected(100)


async def test_a_message_that_is_no_chunk_stops_no_other(streams, pool, database, make):
    await streams.publisher.publish("events.test", b"\xff\xff", message_id="poison")
    await publish(streams, chunks(make, 100))
    running = consumer(streams, pool, make)
    await running.start()
    await until_done(streams)
    await running.stop()
    assert counts(database) == expected(100)
    letters = await streams.js.request("STREAM.INFO.DLQ")
    assert letters["state"]["messages"] == 1


async def test_a_consumer_that_is_stopped_and_started_loses_nothing(
    streams, pool, database, make
):
    await publish(streams, chunks(make, 300))
    for _ in range(4):
        running = consumer(streams, pool, make, max_messages=2)
        await running.start()
        before = await pending(streams)

        async def moved(before=before):
            return not before or await pending(streams) < before

        await until(moved)
        await running.stop()
    last = consumer(streams, pool, make)
    await last.start()
    await until_done(streams)
    await last.stop()
    assert counts(database) == expected(300)


async def test_a_database_killed_in_the_middle_loses_and_doubles_nothing(
    streams, make, tmp_path_factory
):
    server = PostgresServer(tmp_path_factory.mktemp("killed"))
    await server.start()
    try:
        migrate(server.url, "tracking", migrations_of("tracking"))
        pool = await open_pool(server.url, "tracking")
        running = consumer(streams, pool, make, max_messages=2)
        await running.start()
        made = chunks(make, 1000)
        publishing = asyncio.create_task(publish(streams, made))
        for share in (4, 2):

            async def published(share=share):
                return await stored(streams) >= len(made) // share

            await until(published)
            await server.kill()
            await server.start()
        await publishing
        await until_done(streams)
        await running.stop()
        await pool.close()
        assert counts(server.url) == expected(1000)
    finally:
        await server.stop()


async def stored(streams):
    info = await streams.js.request("STREAM.INFO.EVENTS")
    return info["state"]["messages"]


async def test_a_missing_database_is_waited_for(streams, make, tmp_path_factory):
    server = PostgresServer(tmp_path_factory.mktemp("late"))
    pool = await open_pool("postgresql://127.0.0.1:1/clarion", "tracking")
    running = consumer(streams, pool, make)
    await running.start()
    await publish(streams, chunks(make, 10))
    assert await pending(streams) > 0
    await running.stop(timedelta(0))
    await pool.close()
    async with server:
        migrate(server.url, "tracking", migrations_of("tracking"))
        pool = await open_pool(server.url, "tracking")
        running = consumer(streams, pool, make)
        await running.start()
        await until_done(streams)
        await running.stop()
        await pool.close()
        assert counts(server.url) == expected(10)
