"""Templates in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from clarion.runtime.postgres import postgres_errors
from clarion.templating.content import Content, Publication, Template
from clarion.templating.postgres.queries import QUERIES

_Row = tuple[str, int, str, datetime, bool]


class PostgresTemplateStore:
    """Implements TemplateStore."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def put(
        self, tenant: str, template_id: str, content: Content, *, publish: bool
    ) -> Template:
        names: dict[str, Any] = {"tenant": tenant, "template_id": template_id}
        names |= {"content": content.to_json(), "digest": content.digest()}
        with postgres_errors():
            async with self._pool.connection() as connection:
                # One transaction: the lock on the template makes writers take turns.
                cursor = await connection.execute(QUERIES["lock_template"], names)
                row = await cursor.fetchone()
                latest: int = row[0] if row else 0
                cursor = await connection.execute(QUERIES["find_content"], names)
                known = await cursor.fetchone()
                names["version"] = known[0] if known else latest + 1
                if known is None:
                    await connection.execute(QUERIES["insert_version"], names)
                    await connection.execute(QUERIES["set_latest"], names)
                if publish:
                    await connection.execute(QUERIES["publish"], names)
                stored = await _get(connection, names)
        if stored is None:
            raise LookupError("the version was not there in its own transaction")
        return stored

    async def get(
        self, tenant: str, template_id: str, version: int = 0
    ) -> Template | None:
        names = {"tenant": tenant, "template_id": template_id, "version": version}
        with postgres_errors():
            async with self._pool.connection() as connection:
                return await _get(connection, names)

    async def publish(
        self, tenant: str, template_id: str, version: int
    ) -> Template | None:
        names = {"tenant": tenant, "template_id": template_id, "version": version}
        with postgres_errors():
            async with self._pool.connection() as connection:
                await connection.execute(QUERIES["publish"], names)
                return await _get(connection, names)

    async def list(self, tenant: str, after: str, limit: int) -> list[Template]:
        names = {"tenant": tenant, "after": after, "limit": limit}
        with postgres_errors():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(QUERIES["list"], names)
                return [_template(row) for row in await cursor.fetchall()]

    async def published(self, tenant: str) -> Mapping[str, int]:
        with postgres_errors():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    QUERIES["published"], {"tenant": tenant}
                )
                return dict(await cursor.fetchall())

    async def revision(self) -> int:
        with postgres_errors():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(QUERIES["revision"])
                ((revision,),) = await cursor.fetchall()
                return int(revision)

    async def changed(self, after: int, limit: int) -> Sequence[tuple[str, int]]:
        with postgres_errors():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    QUERIES["changed"], {"after": after, "limit": limit}
                )
                return await cursor.fetchall()

    async def publications(self, tenant: str) -> Mapping[str, Sequence[Publication]]:
        found: dict[str, list[Publication]] = {}
        with postgres_errors():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(
                    QUERIES["publications"], {"tenant": tenant}
                )
                for template_id, at, version in await cursor.fetchall():
                    found.setdefault(template_id, []).append(Publication(at, version))
        return found


async def _get(
    connection: AsyncConnection[Any], names: Mapping[str, Any]
) -> Template | None:
    cursor = await connection.execute(QUERIES["get"], names)
    row = await cursor.fetchone()
    return None if row is None else _template(row)


def _template(row: _Row) -> Template:
    template_id, version, content, created_time, published = row
    return Template(
        template_id, version, Content.from_json(content), published, created_time
    )
