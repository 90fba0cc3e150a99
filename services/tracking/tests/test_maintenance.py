from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from clarion.runtime.errors import UnavailableError
from clarion.tracking import partitions
from clarion.tracking.maintenance import Maintenance

TODAY = date(2026, 11, 22)


async def days(pool):
    async with pool.connection() as connection:
        return await partitions.existing(connection)


async def count(pool, table):
    async with pool.connection() as connection:
        cursor = await connection.execute(f"SELECT count(*) FROM {table}")
        return (await cursor.fetchone())[0]


@pytest.fixture
def maintenance(pool, clock):
    return Maintenance(
        pool,
        clock,
        event_retention=timedelta(days=10),
        record_retention=timedelta(days=20),
    )


def test_a_partitions_name_tells_its_day():
    assert partitions.partition_name(TODAY) == "events_20261122"
    assert partitions.partition_day("events_20261122") == TODAY
    assert partitions.partition_day("events_default") is None


@pytest.mark.integration
async def test_days_are_made_ahead(maintenance, pool):
    await maintenance.round()
    assert await days(pool) == {TODAY + timedelta(days=n) for n in range(8)}
    await maintenance.round()


@pytest.mark.integration
async def test_old_days_are_dropped_and_newer_ones_kept(
    maintenance, pool, writer, make
):
    day = 86_400
    await writer.write(
        make.batch(
            *(
                make.event("sent", make.id(), at=-n * day, channel="push", part=str(n))
                for n in (0, 10, 11, 12, 30)
            )
        )
    )
    await maintenance.round()
    kept = {TODAY - timedelta(days=n) for n in (10, 11)}
    gone = {TODAY - timedelta(days=n) for n in (12, 30)}
    assert kept <= await days(pool)
    assert not gone & await days(pool)


@pytest.mark.integration
async def test_old_notifications_are_forgotten_with_all_that_is_theirs(
    maintenance, pool, writer, make, clock
):
    n = make.id()
    push = make.delivery(n)
    await writer.write(
        make.batch(
            make.decided(n, {"push": [push]}, broadcast=make.id()),
            make.attempt("sent", n, push, 1),
        )
    )
    await maintenance.round()
    assert await count(pool, "notifications") == 1
    assert await count(pool, "broadcast_states") == 1
    clock.set(datetime(2026, 12, 24, tzinfo=UTC))
    await maintenance.round()
    for table in ("notifications", "deliveries", "attempts", "broadcast_states"):
        assert await count(pool, table) == 0
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT DISTINCT grain FROM counters")
        assert {grain for (grain,) in await cursor.fetchall()} == {"day", "hour"}


@pytest.mark.integration
async def test_the_new_days_of_a_fallen_back_database_are_found_again(
    pool, writer, make
):
    await writer.write(make.batch(make.event("sent", make.id(), channel="push")))
    async with pool.connection() as connection:
        await connection.execute("DROP TABLE events_20261122")
    event = make.event("sent", make.id(), channel="push")
    with pytest.raises(Exception, match="no partition"):
        await writer.write(make.batch(event))
    assert (await writer.write(make.batch(event))).events == 1


@pytest.mark.integration
async def test_a_round_without_a_database_is_unavailable(maintenance, pool):
    await pool.close()
    with pytest.raises(UnavailableError):
        await maintenance.round()
