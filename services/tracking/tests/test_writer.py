from __future__ import annotations

import asyncio
import random
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.api.event.v1.notification_event_pb2 import Decided
from clarion.runtime.errors import UnavailableError
from clarion.runtime.postgres import open_pool
from clarion.tracking import state
from clarion.tracking.repository import status_sql
from clarion.tracking.state import Status
from clarion.tracking.writer import Writer

pytestmark = pytest.mark.integration

TABLES = (
    "SELECT event_id::text, kind FROM events",
    "SELECT notification_id::text, accepted_time, facts, outcomes, user_id, type,"
    " category, priority, broadcast_id::text FROM notifications",
    "SELECT delivery_id::text, channel, status, reason, status_time FROM deliveries",
    "SELECT delivery_id::text, attempt, outcome, attempt_time FROM attempts",
    "SELECT grain, bucket, metric, channel, type, category, value FROM counters"
    " WHERE value <> 0",
    "SELECT broadcast_id::text, mask, number FROM broadcast_states WHERE number <> 0",
)


async def rows(pool, text):
    async with pool.connection() as connection:
        return set(await (await connection.execute(text)).fetchall())


async def everything(pool):
    return [await rows(pool, table) for table in TABLES]


async def forget(pool):
    async with pool.connection() as connection:
        await connection.execute(
            "TRUNCATE events, notifications, counters, broadcast_states"
        )


async def total(pool, metric):
    counted = await rows(
        pool,
        "SELECT sum(value)::int FROM counters"
        f" WHERE grain = 'day' AND metric = '{metric}'",
    )
    return next(iter(counted))[0]


@pytest.fixture
def story(make):
    """A person with a phone, a mail and a skipped SMS; in the order of happening.

    The person subscribed to what was told to all.
    """
    n = make.id()
    push, mail = make.delivery(n), make.delivery(n, "email")
    about_mail = {"channel": "email"}
    return [
        make.event("scheduled", n, at=-5),
        make.decided(
            n,
            {"push": [push], "email": [mail], "sms": ("skipped", "no_address")},
            at=1,
            broadcast=make.id(),
        ),
        make.attempt("retrying", n, push, 1, at=2),
        make.attempt("unknown", n, push, 2, at=3),
        make.attempt("sent", n, push, 3, at=4),
        make.attempt("failed", n, mail, 1, at=5, **about_mail),
        make.event("dead_lettered", n, at=6, delivery=mail, **about_mail),
        make.event("redriven", n, at=7, delivery=mail, **about_mail),
        make.attempt("sent", n, mail, 2, at=8, **about_mail),
        make.event("delivered", n, at=9, channel="push", delivery=push),
        make.event("opened", n, at=10, delivery=mail, **about_mail),
    ]


async def test_a_batch_becomes_rows(writer, pool, make, story):
    written = await writer.write(make.batch(*story))
    assert (written.events, written.duplicates) == (len(story), 0)
    statuses = {row[1]: row[2] for row in await rows(pool, TABLES[2])}
    assert statuses == {
        "push": Status.DELIVERED,
        "email": Status.OPENED,
        "sms": Status.SKIPPED,
    }
    assert len(await rows(pool, TABLES[3])) == 5
    assert await total(pool, "sent") == 2
    assert await total(pool, "planned") == 2
    assert await total(pool, "skipped") == 1
    assert await total(pool, "accepted") == 1


async def test_a_repeated_batch_changes_nothing(writer, pool, make, story):
    await writer.write(make.batch(*story))
    before = await everything(pool)
    written = await writer.write(make.batch(*story))
    assert (written.events, written.duplicates) == (0, len(story))
    assert await everything(pool) == before


async def test_a_batch_with_some_repeated_events_counts_the_others(
    writer, pool, make, story
):
    await writer.write(make.batch(*story[:5]))
    written = await writer.write(make.batch(*story, *story))
    assert written.duplicates == 5
    assert await total(pool, "sent") == 2


async def test_a_decision_that_is_made_again_otherwise_changes_nothing(
    writer, pool, make
):
    n = make.id()
    first = make.decided(n, {"push": [make.delivery(n)]})
    await writer.write(make.batch(first))
    before = await everything(pool)
    again = make.decided(n, {"push": ("rate_limited", "daily")})
    other = make.event("complained", n, channel="push", delivery=make.delivery(n))
    await writer.write(make.batch(again, other))
    after = await everything(pool)
    assert after[1:] == before[1:]
    assert len(after[0]) == 2


async def test_an_event_that_is_told_again_after_midnight_counts_once(
    writer, pool, make
):
    n = make.id()
    push = make.delivery(n)
    first = make.attempt("sent", n, push, 1, at=43_100)
    again = make.attempt("sent", n, push, 1, at=43_300)
    assert first.event_id == again.event_id
    for events in ([first], [again], [again, first]):
        await writer.write(make.batch(*events))
    assert len(await rows(pool, TABLES[0])) == 1
    assert await total(pool, "sent") == 1


async def test_the_last_attempt_stands_in_the_dead_letter_alone(writer, pool, make):
    n = make.id()
    push, sms = make.delivery(n), make.delivery(n, "sms")
    await writer.write(
        make.batch(
            make.attempt("dead_lettered", n, push, 8),
            make.attempt("unknown", n, sms, 8, channel="sms"),
            make.attempt("dead_lettered", n, sms, 8, channel="sms"),
        )
    )
    outcomes = {
        delivery: state.ATTEMPT_NAMES[outcome]
        for delivery, _, outcome, _ in await rows(pool, TABLES[3])
    }
    assert outcomes == {push: "failed", sms: "unknown"}


async def test_any_order_in_any_batches_gives_the_same_rows(writer, pool, make, story):
    await writer.write(make.batch(*story))
    expected = await everything(pool)
    chance = random.Random(7)
    for _ in range(25):
        await forget(pool)
        events = story + chance.choices(story, k=5)
        chance.shuffle(events)
        while events:
            size = chance.randint(1, len(events))
            await writer.write(make.batch(*events[:size]))
            events = events[size:]
        assert await everything(pool) == expected


async def test_outcomes_in_the_database_agree_with_the_pure_ones(writer, pool, make):
    kinds = ["sent", "failed", "expired", "deferred", "retrying", "read"]
    chance = random.Random(3)
    expected = {}
    for _ in range(60):
        n = make.id()
        events, deliveries = [], []
        for _ in range(chance.randint(1, 4)):
            kind, channel = chance.choice(kinds), chance.choice(["push", "sms"])
            delivery = make.id() if chance.random() < 0.7 else ""
            if any(channel == c and not d for c, d, _ in deliveries if not delivery):
                continue
            events.append(
                make.event(kind, n, channel=channel, delivery=delivery, part=make.id())
            )
            step = state.KIND_STEPS[events[-1].kind]
            deliveries.append((channel, bool(delivery), step[1]))
        await writer.write(make.batch(*events))
        expected[n] = state.outcomes(deliveries)
    found = await rows(
        pool, "SELECT notification_id::text, outcomes FROM notifications"
    )
    assert dict(found) == expected


async def test_the_database_names_a_mask_as_the_pure_rules_do(database):
    single = [1 << bit for bit in range(27)]
    masks = [0, *single, *(a | b for a in single for b in single)]
    with psycopg.connect(database) as connection:

        @settings(
            max_examples=50,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
            deadline=None,
        )
        @given(st.lists(st.integers(0, (1 << 27) - 1), min_size=40))
        def agree(more):
            asked = masks + more
            found = connection.execute(
                f"SELECT facts, {status_sql()}"
                " FROM unnest(%s::int[]) AS m (facts), (VALUES (0)) AS o (outcomes)",
                (asked,),
            ).fetchall()
            assert found == [(m, state.notification_status(m)) for m in asked]

        agree()


async def test_days_get_their_partitions_on_demand(writer, pool, make):
    n = make.id()
    await writer.write(
        make.batch(
            make.decided(n, {"push": []}),
            make.event("opened", n, at=-86_400 * 3, channel="push"),
        )
    )
    found = await rows(pool, "SELECT tableoid::regclass::text FROM events ORDER BY day")
    assert found == {("events_20261119",), ("events_20261122",)}


async def test_two_writers_at_once_see_each_others_deliveries(pool, arrivals, make):
    one, two = Writer(pool, arrivals), Writer(pool, arrivals)
    ns = [make.id() for _ in range(40)]
    pairs = [(n, make.delivery(n), make.delivery(n, "sms")) for n in ns]
    for n, push, sms in pairs:
        await asyncio.gather(
            one.write(make.batch(make.attempt("sent", n, push, 1))),
            two.write(make.batch(make.attempt("failed", n, sms, 1, channel="sms"))),
        )
    found = await rows(pool, "SELECT DISTINCT outcomes FROM notifications")
    assert found == {(state.bits(Status.SENT, Status.FAILED),)}


async def test_a_transaction_that_fails_late_leaves_nothing(writer, pool, make, story):
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE counters RENAME TO away")
    with pytest.raises(UnavailableError):
        await writer.write(make.batch(*story))
    assert await rows(pool, TABLES[0]) == set()
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE away RENAME TO counters")
    assert (await writer.write(make.batch(*story))).events == len(story)
    assert await total(pool, "sent") == 2


async def test_a_transaction_that_fails_late_leaves_what_was_known(
    writer, pool, make, story
):
    await writer.write(make.batch(*story[:5]))
    before = await everything(pool)
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE counters RENAME TO away")
    with pytest.raises(UnavailableError):
        await writer.write(make.batch(*story))
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE away RENAME TO counters")
    assert await everything(pool) == before
    assert (await writer.write(make.batch(*story))).events == len(story) - 5


async def test_a_connection_cut_before_the_commit_counts_once(
    writer, pool, database, make, story
):
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE tracking.counters")
        writing = asyncio.create_task(writer.write(make.batch(*story)))
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE '%counters%'"
            " AND pid <> pg_backend_pid()"
        )
        found = None
        async with asyncio.timeout(10):
            while found is None:
                await asyncio.sleep(0.01)
                with psycopg.connect(database) as looking:
                    found = looking.execute(waiting).fetchone()
        with psycopg.connect(database) as killing:
            killing.execute("SELECT pg_terminate_backend(%s)", found)
        with pytest.raises(UnavailableError):
            await writing
        other.execute("ROLLBACK")
    assert await rows(pool, TABLES[0]) == set()
    await writer.write(make.batch(*story))
    assert await total(pool, "sent") == 2


async def test_malformed_events_are_put_aside_and_stop_no_other(writer, pool, make):
    n = make.id()
    good = make.decided(n, {"push": [make.delivery(n)]})
    bad = [make.decided(make.id(), {"push": [make.delivery(n)]}) for _ in range(6)]
    bad[0].event_id = "nonsense"
    bad[1].notification_id = ""
    bad[2].tenant_id = "No Tenant"
    bad[3].ClearField("occurred_time")
    bad[4].decided.decision.channels[0].deliveries[0].delivery_id = "x"
    bad[5].kind = 0
    batch = make.batch(*bad, good, *bad)
    written = await writer.write(batch)
    assert written.events == 1
    assert len(await rows(pool, "SELECT digest FROM rejected_events")) == 6
    assert len(await rows(pool, TABLES[1])) == 1
    await writer.write(make.batch(*bad))
    assert len(await rows(pool, "SELECT digest FROM rejected_events")) == 6


async def test_a_request_gives_what_its_decision_does_not_say(writer, pool, make):
    event = make.decided(make.id(), {"push": ("skipped", "no_address")}, category="")
    event.user_id, event.decided.decision.priority = "", ""
    asked = event.decided.notification
    asked.user_id, asked.category, asked.priority = "eve", "news", "low"
    await writer.write(make.batch(event))
    said = await rows(pool, "SELECT user_id, category, priority FROM notifications")
    assert said == {("eve", "news", "low")}
    ((detail,),) = await rows(pool, "SELECT detail FROM events")
    assert Decided.FromString(detail) == event.decided


async def test_hostile_texts_are_stored(writer, pool, make):
    n = make.id()
    event = make.attempt("failed", n, make.delivery(n), 70_000, reason="\0bad\0")
    event.user_id, event.type = "u" * 9_000, "\0"
    event.attempt.provider_code = "é" * 9_000
    event.attempt.provider_latency.seconds = 1 << 60
    event.occurred_time.nanos = 999_999_999
    await writer.write(make.batch(event))
    assert {row[3] for row in await rows(pool, TABLES[2])} == {"bad"}


async def test_a_database_without_tables_is_unavailable(
    postgres_server, arrivals, make
):
    pool = await open_pool(postgres_server.url, "tracking")
    with pytest.raises(UnavailableError):
        await Writer(pool, arrivals).write(make.batch(make.event("sent", make.id())))
    await pool.close()


async def test_writing_wakes_those_who_wait(writer, arrivals, make):
    n = make.id()
    with arrivals.of(UUID(n).bytes) as arrived:
        await writer.write(make.batch(make.event("sent", n, channel="push")))
        assert arrived.is_set()


async def test_what_comes_late_moves_to_its_category(writer, pool, make):
    n = make.id()
    push = make.delivery(n)
    await writer.write(make.batch(make.attempt("sent", n, push, 1)))
    await writer.write(make.batch(make.decided(n, {"push": [push]})))
    found = await rows(
        pool,
        "SELECT category, value FROM counters WHERE metric = 'sent' AND grain = 'day'",
    )
    assert found == {("", 0), ("order_updates", 1)}
