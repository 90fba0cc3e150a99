"""Transactions on the pool, with psycopg's errors in the words of the mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

from psycopg import AsyncConnection, errors
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from clarion.runtime.errors import InvalidArgumentError, UnavailableError
from clarion.runtime.postgres import postgres_errors

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]
Pool: TypeAlias = AsyncConnectionPool[Connection]

# Shorter than the pool's own: callers have deadlines of a few seconds.
_WAIT_SECONDS = 2.0


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One transaction, committed at the end of the block.

    Raises UnavailableError while Postgres does not answer, and when two writers met so
    that one has to begin again.
    """
    with _errors():
        async with pool.connection(timeout=_WAIT_SECONDS) as connection:
            yield connection


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """Statements by themselves, each in one round trip with no transaction around it.

    Raises UnavailableError while Postgres does not answer.
    """
    with _errors():
        async with pool.connection(timeout=_WAIT_SECONDS) as connection:
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                if connection.info.transaction_status is TransactionStatus.IDLE:
                    await connection.set_autocommit(False)
                else:
                    await connection.close()  # the pool makes another


@contextmanager
def _errors() -> Iterator[None]:
    with postgres_errors():
        try:
            yield
        except errors.UniqueViolation as met:
            raise UnavailableError("two writers met: repeat the call") from met
        except errors.DataError as wrong:
            # The contract lets any text through; only this one cannot be stored.
            raise InvalidArgumentError("texts must not contain NUL") from wrong
