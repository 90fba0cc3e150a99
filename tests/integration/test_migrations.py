"""Every earlier version of every schema, with rows in it, becomes the newest one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from clarion.runtime.migrations import migrate, migrations_of

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
UPGRADES = [
    pytest.param(service, version, id=f"{service}-{version:04}")
    for service in SERVICES
    for version in range(1, len(migrations_of(service)))
]
# One value a type, so that rows of several tables are about the same thing.
VALUES = {
    "bool": False,
    "bytea": b"",
    "date": "2026-11-22",
    "float8": 0,
    "int2": 0,
    "int4": 0,
    "int8": 0,
    "interval": "1 s",
    "jsonb": "{}",
    "numeric": 0,
    "text": "x",
    "timestamptz": "2026-11-22 12:00+00",
    "uuid": "018f0000-0000-7000-8000-000000000000",
}


@pytest.fixture
def database(postgres_server: Any) -> Iterator[str]:
    """The URL of a fresh database."""
    name = sql.Identifier(f"t{uuid.uuid4().hex}")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield make_conninfo(
            postgres_server.url, dbname=name.as_string(connection)[1:-1]
        )
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def tables(connection: Any, schema: str) -> list[str]:
    """All that has rows of its own or shows those of others, but for our own table."""
    rows = connection.execute(
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = %s AND table_name <> 'schema_migrations'"
        " ORDER BY table_name",
        (schema,),
    )
    return [name for (name,) in rows]


def fill(connection: Any, schema: str, table: str) -> bool:
    """Inserts a row with what must be given; whether the table takes it.

    A view takes none.
    """
    columns = connection.execute(
        "SELECT column_name, udt_name FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s AND is_nullable = 'NO'"
        " AND column_default IS NULL AND is_identity = 'NO' AND is_generated = 'NEVER'",
        (schema, table),
    ).fetchall()
    if not columns:
        return False
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(schema, table),
        sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        sql.SQL(", ").join(sql.Placeholder() for _ in columns),
    )
    values = ["{}" if type_.startswith("_") else VALUES[type_] for _, type_ in columns]
    try:
        with connection.transaction():
            connection.execute(insert, values)
    except psycopg.IntegrityError:  # a rule of its own, or no partition yet
        return False
    return True


def counts(connection: Any, schema: str) -> dict[str, int]:
    return {
        table: connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
        ).fetchone()[0]
        for table in tables(connection, schema)
    }


def shape(connection: Any, schema: str) -> list[Any]:
    """Columns, indexes and rules."""
    columns = connection.execute(
        "SELECT table_name, column_name, udt_name, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = %s ORDER BY 1, 2",
        (schema,),
    ).fetchall()
    indexes = connection.execute(
        "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = %s"
        " ORDER BY 1, 2",
        (schema,),
    ).fetchall()
    rules = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE connamespace = %s::regnamespace ORDER BY 1, 2",
        (schema,),
    ).fetchall()
    return [columns, indexes, rules]


@pytest.mark.parametrize(("service", "version"), UPGRADES)
def test_rows_of_an_earlier_version_outlive_the_migrations(
    service: str, version: int, database: str
) -> None:
    migrations = migrations_of(service)
    migrate(database, service, migrations[:version])
    with psycopg.connect(database, autocommit=True) as connection:
        filled = [
            name
            for name in tables(connection, service)
            if fill(connection, service, name)
        ]
        assert filled
        before = counts(connection, service)
    names = [migration.name for migration in migrations[version:]]
    assert migrate(database, service, migrations) == names
    assert migrate(database, service, migrations) == []
    with psycopg.connect(database, autocommit=True) as connection:
        after = counts(connection, service)
        assert {name: after[name] for name in filled} == {
            name: before[name] for name in filled
        }
        upgraded = shape(connection, service)
        connection.execute(
            sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(service))
        )
    migrate(database, service, migrations)
    with psycopg.connect(database, autocommit=True) as connection:
        assert shape(connection, service) == upgraded
