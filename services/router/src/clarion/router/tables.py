"""What the router's tables share. Nothing here waits for Postgres for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clarion.runtime.errors import UnavailableError

WAIT_SECONDS = 2.0
"""How long a call waits for a connection."""


@contextmanager
def table_errors() -> Iterator[None]:
    """Turns every error of Postgres into UnavailableError.

    Also a schema that is not migrated yet: routing goes on with the built-in types, and
    what fires goes on without the table.
    """
    from psycopg import Error

    try:
        yield
    except Error as error:
        raise UnavailableError(
            f"postgres does not answer: {type(error).__name__}",
            metadata={"dependency": "postgres"},
        ) from error
