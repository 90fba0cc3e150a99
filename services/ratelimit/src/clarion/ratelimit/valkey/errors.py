"""Valkey's errors in the words of the mesh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ResponseError

from clarion.runtime.errors import UnavailableError
from clarion.runtime.valkey import redis_errors

_TRANSIENT = (
    "OOM",  # over its memory limit, with eviction off as it must be
    "READONLY",  # a replica: a failover is under way
    "MISCONF",  # it cannot write to its disk
    "BUSY",  # another script runs too long
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    # redis-py takes the code off the errors that it has a class for.
    "command not allowed when used memory",
    "You can't write against a read only",
)


@contextmanager
def valkey_errors() -> Iterator[None]:
    """Raises UnavailableError for what may work later; a fault of ours passes."""
    with redis_errors():
        try:
            yield
        except ResponseError as error:
            if str(error).startswith(_TRANSIENT):
                raise UnavailableError(
                    "redis does not take commands", metadata={"dependency": "redis"}
                ) from error
            raise
