"""What an earlier release stored is there after the migrations, and is known."""

from __future__ import annotations

import psycopg
import pytest
import pytest_asyncio

from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.tracking import state
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.state import Status
from clarion.tracking.writer import Writer

pytestmark = pytest.mark.integration

DAY = "2026-11-22"
NONE = "00000000-0000-0000-0000-000000000000"
FIRST = """
CREATE TABLE tracking.events_20261122 PARTITION OF tracking.events
    FOR VALUES FROM ('2026-11-22') TO ('2026-11-23');
SET search_path TO tracking;
INSERT INTO events VALUES
    (%(n)s, %(decided)s, %(day)s, %(at)s, %(none)s, 2, 'demo', '', 'order', '', ''),
    (%(n)s, %(sent)s, %(day)s, %(at)s, %(push)s, 7, 'demo', 'push', 'order', '', NULL);
INSERT INTO notifications VALUES
    (%(n)s, %(at)s, NULL, %(facts)s, %(outcomes)s, 'demo', 'ada', 'order',
        'orders', 'high');
INSERT INTO deliveries VALUES
    (%(n)s, %(push)s, %(weight)s, %(at)s, 13, 'push', ''),
    (%(n)s, %(none)s, 5, %(at)s, 5, 'sms', 'opted_out');
INSERT INTO attempts VALUES
    (%(n)s, %(push)s, %(at)s, 20000, 1, 4, 'fcm', '', 'm-1', ''),
    (%(n)s, %(push)s, %(at)s, NULL, 2, 0, 'fcm', 'late', '', '503');
"""


@pytest_asyncio.fixture
async def told_before(empty_database, make):
    """A pool on the migrated database, and a SENT that the first release was told."""
    url, n = empty_database, make.id()
    push = make.delivery(n)
    sent = make.attempt("sent", n, push, 1)
    migrations = migrations_of("tracking")
    migrate(url, "tracking", migrations[:1])
    values = {
        "n": n,
        "none": NONE,
        "push": push,
        "day": DAY,
        "at": f"{DAY} 12:00+00",
        "decided": make.id(),
        "sent": sent.event_id,
        "weight": 1 << 61,
        "facts": int(state.Fact.ACCEPTED | state.Fact.DECIDED),
        "outcomes": state.bits(Status.SENT, Status.SKIPPED),
    }
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(FIRST, values)
    migrate(url, "tracking", migrations)
    pool = await open_pool(url, "tracking")
    yield pool, sent
    await pool.close()


async def fetched(pool, text):
    async with pool.connection() as connection:
        return await (await connection.execute(text)).fetchall()


async def test_rows_of_the_first_release_become_stories(told_before):
    pool, sent = told_before
    assert await fetched(
        pool,
        "SELECT notification_id::text, delivery_id::text, weight, status, channel,"
        " reason FROM deliveries ORDER BY channel",
    ) == [
        (sent.notification_id, sent.delivery_id, 1 << 61, 13, "push", ""),
        (sent.notification_id, NONE, 5, 5, "sms", "opted_out"),
    ]
    assert await fetched(
        pool,
        "SELECT attempt, outcome, provider_latency, provider_code FROM attempts"
        " ORDER BY attempt",
    ) == [(1, 4, 20000, ""), (2, 0, None, "503")]


async def test_what_the_first_release_was_told_folds_and_goes_on(told_before, make):
    pool, sent = told_before
    about = {"channel": "push", "delivery": sent.delivery_id}
    delivered = make.event("delivered", sent.notification_id, at=9, **about)
    written = await Writer(pool, Arrivals()).write(make.batch(sent, delivered))
    assert (written.events, written.duplicates) == (1, 1)
    assert await fetched(
        pool, "SELECT status FROM deliveries WHERE channel = 'push'"
    ) == [(Status.DELIVERED,)]
    assert await fetched(pool, "SELECT outcomes FROM notifications") == [
        (state.bits(Status.DELIVERED, Status.SKIPPED),)
    ]


SECOND = """
SET search_path TO tracking;
INSERT INTO notifications (notification_id, accepted_time, facts, outcomes, tenant_id,
    user_id, type, category, priority, event_ids, deliveries)
VALUES (%(n)s, %(at)s, %(facts)s, %(outcomes)s, 'demo', 'ada', 'order', 'orders',
    'high', uuid_send(%(decided)s::uuid),
    ARRAY[ROW(%(push)s, 5, %(at)s, 2, 'push', '')::delivery]);
"""


async def test_what_was_decided_before_broadcasts_were_known_goes_on_without_one(
    empty_database, make
):
    url, n, push = empty_database, make.id(), make.id()
    migrations = migrations_of("tracking")
    migrate(url, "tracking", migrations[:2])
    values = {
        "n": n,
        "push": push,
        "at": f"{DAY} 12:00+00",
        "decided": make.id(),
        "facts": int(state.Fact.ACCEPTED | state.Fact.DECIDED),
        "outcomes": state.bits(Status.PLANNED),
    }
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(SECOND, values)
    migrate(url, "tracking", migrations)
    pool = await open_pool(url, "tracking")
    member, broadcast = make.id(), make.id()
    await Writer(pool, Arrivals()).write(
        make.batch(
            make.attempt("sent", n, push, 1),
            make.decided(member, {"sms": ("skipped", "off")}, broadcast=broadcast),
        )
    )
    assert await fetched(
        pool,
        "SELECT notification_id::text, broadcast_id::text, outcomes FROM notifications"
        " ORDER BY broadcast_id NULLS FIRST",
    ) == [
        (n, None, state.bits(Status.SENT)),
        (member, broadcast, state.bits(Status.SKIPPED)),
    ]
    assert await fetched(
        pool, "SELECT broadcast_id::text, number FROM broadcast_states"
    ) == [(broadcast, 1)]
    await pool.close()
