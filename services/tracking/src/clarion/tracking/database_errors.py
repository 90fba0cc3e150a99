"""PostgreSQL's errors in the mesh's words: retryable or permanent is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from clarion.runtime.errors import UnavailableError


@contextmanager
def translated() -> Iterator[None]:
    """Raises UnavailableError for everything but data that cannot be stored.

    A missing table, a read-only standby or a missing permission is mended by people
    while the events are held; only DataError and IntegrityError are about the events
    themselves and pass as they are.
    """
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError):
        raise
    except psycopg.Error as error:
        raise UnavailableError(
            f"postgres does not serve: {type(error).__name__}: {error}",
            metadata={"dependency": "postgres"},
        ) from error
