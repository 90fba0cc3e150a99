"""SQL migrations: plain numbered files, applied once, in order, each as a whole.

A service keeps them in ``clarion/<service>/sql/migrations/0001_what_it_does.sql``.
What was applied stands in ``<service>.schema_migrations``.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from clarion.runtime.errors import ConfigError, UnavailableError
from clarion.runtime.settings import RuntimeSettings

if TYPE_CHECKING:
    from psycopg import Connection

logger = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """What tells a changed file from the one that was applied."""
        return sha256(self.sql.encode()).hexdigest()


def migrations_of(service: str) -> list[Migration]:
    """The migrations that the service's package carries, in order; may be empty."""
    folder = files(f"clarion.{service}") / "sql" / "migrations"
    if not folder.is_dir():
        return []
    texts = {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    }
    return ordered(texts)


def ordered(texts: dict[str, str]) -> list[Migration]:
    """File name -> text as migrations. ConfigError for a bad or repeated number."""
    found: dict[int, Migration] = {}
    for name in sorted(texts):
        match = _FILE.fullmatch(name)
        if match is None:
            raise ConfigError(f"migration {name} is not named 0001_what_it_does.sql")
        version = int(match[1])
        if version in found:
            raise ConfigError(f"two migrations have the number {version:04d}")
        found[version] = Migration(version, name, texts[name])
    return list(found.values())


def migrate(url: str, schema: str, migrations: Sequence[Migration]) -> list[str]:
    """Applies what is missing and returns the names of it.

    Safe to run by several processes at once: they take turns by an advisory lock.
    ConfigError when an applied file changed or a new one has an older number;
    psycopg's errors as they come.
    """
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        lock = int.from_bytes(sha256(schema.encode()).digest()[:7], "big")
        connection.execute("SELECT pg_advisory_lock(%s)", (lock,))
        try:
            return _apply(connection, schema, migrations)
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", (lock,))


async def migrate_on_start(service: str, settings: RuntimeSettings) -> None:
    """Applies the service's migrations where the settings ask for it and there are any.

    UnavailableError when PostgreSQL does not answer; otherwise raises as ``migrate``.
    """
    if not settings.migrate_on_start:
        return
    migrations = migrations_of(service)
    if not migrations:
        return
    import psycopg

    url = settings.url("postgres")
    try:
        applied = await asyncio.to_thread(migrate, url, service, migrations)
    except psycopg.OperationalError as down:
        raise UnavailableError("postgres does not answer the migrations") from down
    logger.info("migrations done", extra={"applied": len(applied)})


def _apply(
    connection: Connection[tuple[object, ...]],
    schema: str,
    migrations: Sequence[Migration],
) -> list[str]:
    from psycopg import sql

    name = sql.Identifier(schema)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
    connection.execute(sql.SQL("SET search_path TO {}").format(name))
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        " version integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL,"
        " applied_time timestamptz NOT NULL DEFAULT now())"
    )
    rows = connection.execute("SELECT version, digest FROM schema_migrations")
    applied = {cast(int, version): digest for version, digest in rows}
    missing: list[Migration] = []
    for migration in migrations:
        digest = applied.get(migration.version)
        if digest is None:
            missing.append(migration)
        elif digest != migration.digest:
            raise ConfigError(
                f"{migration.name} was applied and has changed since: "
                "restore it and write a new migration"
            )
    if missing and applied and missing[0].version < max(applied):
        raise ConfigError(
            f"{missing[0].name} is older than what was applied: give it a new number"
        )
    for migration in missing:
        with connection.transaction():
            # The text is a file of the service's own package, never input.
            connection.execute(migration.sql.encode())
            connection.execute(
                "INSERT INTO schema_migrations (version, name, digest)"
                " VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.digest),
            )
        logger.info("migration applied", extra={"migration": migration.name})
    return [migration.name for migration in missing]
