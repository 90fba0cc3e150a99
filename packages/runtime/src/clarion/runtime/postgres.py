"""PostgreSQL: a pool on the service's own schema, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clarion.runtime.errors import UnavailableError

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

_WAIT_SECONDS = 5.0
_CONNECT_SECONDS = 3
_CONNECTIONS = 8


async def open_pool(
    url: str, schema: str, *, is_parallel: bool = True, autocommit: bool = False
) -> AsyncConnectionPool:
    """A pool that connects in the background, whether or not a server is there yet.

    Every connection has ``search_path`` set to the schema. Asking for a connection
    waits at most five seconds. Times travel in UTC. Where all reads are short, not
    ``is_parallel`` spares the workers that Postgres would start for them. With
    ``autocommit`` a statement is one round trip, not three, and what belongs together
    says so by ``connection.transaction()``.
    """
    from psycopg_pool import AsyncConnectionPool

    options = f"-c search_path={schema} -c timezone=UTC"
    if not is_parallel:
        options += " -c max_parallel_workers_per_gather=0"
    pool = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=_CONNECTIONS,
        timeout=_WAIT_SECONDS,
        reconnect_timeout=2.0,
        kwargs={
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": f"clarion-{schema}",
            "options": options,
            "autocommit": autocommit,
        },
        name=schema,
        open=False,
    )
    await pool.open(wait=False)
    return pool


async def check_pool(pool: AsyncConnectionPool) -> None:
    """For readiness: raises UnavailableError while the database does not answer."""
    with postgres_errors():
        async with pool.connection(timeout=1.5) as connection:
            await connection.execute("SELECT 1")


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Turns "it does not answer" into UnavailableError; other errors pass."""
    from psycopg import InterfaceError, OperationalError

    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise UnavailableError(
            f"postgres does not answer: {type(error).__name__}",
            metadata={"dependency": "postgres"},
        ) from error
