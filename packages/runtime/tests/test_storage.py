"""Migrations, pool and client against real servers."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from redis.asyncio import Connection, Redis
from redis.exceptions import DataError

from clarion.client.embedded.servers import PostgresServer, ValkeyServer
from clarion.runtime.errors import ConfigError, UnavailableError
from clarion.runtime.migrations import migrate, migrate_on_start, ordered
from clarion.runtime.postgres import check_pool, open_pool
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.valkey import _packing, open_client, redis_errors

pytestmark = pytest.mark.integration

THINGS = {
    "0001_things.sql": "CREATE TABLE things (id text PRIMARY KEY);",
    "0002_names.sql": "ALTER TABLE things ADD COLUMN name text; SELECT 1;",
}


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> PostgresServer:
    return postgres_server


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a service that has the migrations above."""
    folder = tmp_path / "clarion" / "ledger" / "sql" / "migrations"
    folder.mkdir(parents=True)
    for name, text in THINGS.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return "ledger"


def rows(server: PostgresServer, query: LiteralString) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url) as connection:
        return connection.execute(query).fetchall()


async def test_migrations_are_applied_once_and_in_order(postgres):
    first = await asyncio.to_thread(migrate, postgres.url, "once", ordered(THINGS))
    again = await asyncio.to_thread(migrate, postgres.url, "once", ordered(THINGS))

    assert (first, again) == (["0001_things.sql", "0002_names.sql"], [])
    assert rows(postgres, "SELECT id, name FROM once.things") == []
    versions = rows(postgres, "SELECT version FROM once.schema_migrations ORDER BY 1")
    assert versions == [(1,), (2,)]


async def test_processes_that_migrate_at_once_take_turns(postgres):
    done = await asyncio.gather(
        *(
            asyncio.to_thread(migrate, postgres.url, "turns", ordered(THINGS))
            for _ in range(4)
        )
    )

    assert sorted(len(names) for names in done) == [0, 0, 0, 2]


async def test_a_changed_migration_is_refused(postgres):
    await asyncio.to_thread(migrate, postgres.url, "changed", ordered(THINGS))
    changed = {**THINGS, "0001_things.sql": "CREATE TABLE other (id text);"}

    with pytest.raises(ConfigError, match=r"0001_things\.sql was applied and has"):
        await asyncio.to_thread(migrate, postgres.url, "changed", ordered(changed))


async def test_a_migration_that_fails_leaves_nothing(postgres):
    broken = {**THINGS, "0002_names.sql": "CREATE TABLE half (id text); SELECT 1/0;"}

    with pytest.raises(psycopg.errors.DivisionByZero):
        await asyncio.to_thread(migrate, postgres.url, "broken", ordered(broken))
    applied = await asyncio.to_thread(migrate, postgres.url, "broken", ordered(THINGS))

    assert applied == ["0002_names.sql"]


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


async def test_a_service_is_migrated_at_its_start_where_it_is_asked_to(
    postgres, ledger, tmp_path
):
    settings = RuntimeSettings(tmp_path / "keys.json", postgres_url=postgres.url)
    await migrate_on_start(ledger, settings)
    assert rows(postgres, "SELECT to_regclass('ledger.things')") == [(None,)]

    await migrate_on_start(ledger, replace(settings, migrate_on_start=True))

    assert rows(postgres, "SELECT id, name FROM ledger.things") == []


async def test_a_service_without_migrations_needs_no_database_at_its_start(tmp_path):
    settings = RuntimeSettings(tmp_path / "keys.json", migrate_on_start=True)

    await migrate_on_start("runtime", settings)


async def test_migrations_at_the_start_need_a_database_that_answers(ledger, tmp_path):
    url = "postgresql://127.0.0.1:1/none"
    settings = RuntimeSettings(tmp_path, postgres_url=url, migrate_on_start=True)

    with pytest.raises(UnavailableError):
        await migrate_on_start(ledger, settings)


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


COMMANDS = [
    ("GET", "k"),
    ("SCRIPT LOAD", "return 1"),
    (b"SCRIPT LOAD", b"return 1"),
    ("EVALSHA", "0" * 40, 2, "a", b"b", 1.5, -7, ""),
    ("SET", "k", bytearray(b"v"), "PX", 10**20),
    ("SET", "k", memoryview(b"v")),
    ("SET", "k", "\u00e4" * 10_000, "NX"),
]
URLS = ["redis://h:1/0", "rediss://h:1/0"]


@pytest.mark.parametrize("url", URLS)
def test_commands_are_packed_in_c_to_the_same_bytes(url):
    ours: Any = open_client(url).connection_pool.make_connection()
    plain: Any = Redis.from_url(url).connection_pool.make_connection()

    assert isinstance(ours, type(plain))
    assert type(ours).pack_command is not type(plain).pack_command
    for command in COMMANDS:
        assert b"".join(ours.pack_command(*command)) == b"".join(
            plain.pack_command(*command)
        )
    assert b"".join(ours.pack_commands(COMMANDS)) == b"".join(
        plain.pack_commands(COMMANDS)
    )


@pytest.mark.parametrize("value", [True, None, ["a"]], ids=repr)
def test_a_value_that_cannot_be_packed_has_the_error_of_redis(value):
    connection: Any = open_client(URLS[0]).connection_pool.make_connection()

    with pytest.raises(DataError, match="Invalid input of type"):
        connection.pack_command("SET", "k", value)


def test_without_hiredis_commands_are_packed_by_redis(monkeypatch):
    monkeypatch.setitem(sys.modules, "hiredis", None)
    _packing.cache_clear()
    try:
        connection: Any = open_client(URLS[0]).connection_pool.make_connection()
    finally:
        _packing.cache_clear()

    assert type(connection) is Connection
    assert b"".join(connection.pack_command("GET", "k")) == (
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
    )
