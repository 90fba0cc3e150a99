"""Migrations, pool and client against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest
import pytest_asyncio

from clarion.client.embedded.servers import PostgresServer, ValkeyServer
from clarion.runtime.errors import ConfigError, UnavailableError
from clarion.runtime.migrations import migrate, ordered
from clarion.runtime.postgres import check_pool, open_pool
from clarion.runtime.valkey import open_client, redis_errors

pytestmark = pytest.mark.integration

THINGS = {
    "0001_things.sql": "CREATE TABLE things (id text PRIMARY KEY);",
    "0002_names.sql": "ALTER TABLE things ADD COLUMN name text; SELECT 1;",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres(tmp_path_factory) -> AsyncIterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    await server.start()
    yield server
    await server.stop()


def rows(server: PostgresServer, query: LiteralString) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.asyncio(loop_scope="module")
async def test_migrations_are_applied_once_and_in_order(postgres):
    first = await asyncio.to_thread(migrate, postgres.url, "once", ordered(THINGS))
    again = await asyncio.to_thread(migrate, postgres.url, "once", ordered(THINGS))

    assert (first, again) == (["0001_things.sql", "0002_names.sql"], [])
    assert rows(postgres, "SELECT id, name FROM once.things") == []
    versions = rows(postgres, "SELECT version FROM once.schema_migrations ORDER BY 1")
    assert versions == [(1,), (2,)]


@pytest.mark.asyncio(loop_scope="module")
async def test_processes_that_migrate_at_once_take_turns(postgres):
    done = await asyncio.gather(
        *(
            asyncio.to_thread(migrate, postgres.url, "turns", ordered(THINGS))
            for _ in range(4)
        )
    )

    assert sorted(len(names) for names in done) == [0, 0, 0, 2]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_changed_migration_is_refused(postgres):
    await asyncio.to_thread(migrate, postgres.url, "changed", ordered(THINGS))
    changed = {**THINGS, "0001_things.sql": "CREATE TABLE other (id text);"}

    with pytest.raises(ConfigError, match=r"0001_things\.sql was applied and has"):
        await asyncio.to_thread(migrate, postgres.url, "changed", ordered(changed))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_migration_that_fails_leaves_nothing(postgres):
    broken = {**THINGS, "0002_names.sql": "CREATE TABLE half (id text); SELECT 1/0;"}

    with pytest.raises(psycopg.errors.DivisionByZero):
        await asyncio.to_thread(migrate, postgres.url, "broken", ordered(broken))
    applied = await asyncio.to_thread(migrate, postgres.url, "broken", ordered(THINGS))

    assert applied == ["0002_names.sql"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_pool_works_on_the_services_schema(postgres):
    await asyncio.to_thread(migrate, postgres.url, "pooled", ordered(THINGS))
    pool = await open_pool(postgres.url, "pooled")
    try:
        await check_pool(pool)
        async with pool.connection() as connection:
            await connection.execute("INSERT INTO things VALUES ('a', 'b')")
    finally:
        await pool.close()

    assert rows(postgres, "SELECT id FROM pooled.things") == [("a",)]


async def test_a_pool_without_a_server_is_unavailable():
    pool = await open_pool("postgresql://127.0.0.1:1/none", "nobody")
    try:
        with pytest.raises(UnavailableError):
            await check_pool(pool)
    finally:
        await pool.close()


@pytest.mark.parametrize("name", ["1_a.sql", "0001_A.sql", "first.sql"])
def test_a_misnamed_migration_is_refused(name):
    with pytest.raises(ConfigError, match="is not named"):
        ordered({name: ""})


def test_two_migrations_of_one_number_are_refused():
    with pytest.raises(ConfigError, match="two migrations have the number 0001"):
        ordered({"0001_a.sql": "", "0001_b.sql": ""})


async def test_a_redis_client_answers_and_survives_a_restart(tmp_path):
    server = ValkeyServer(tmp_path)
    await server.start()
    client = open_client(server.url)
    try:
        await client.set("k", b"1", px=timedelta(minutes=1))
        await server.stop()
        with pytest.raises(UnavailableError), redis_errors():
            await client.get("k")
        await server.start()

        assert await client.get("k") == b"1"
    finally:
        await client.aclose()
        await server.stop()
