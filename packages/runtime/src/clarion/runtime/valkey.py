"""Redis or Valkey: one client, with timeouts, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clarion.runtime.errors import UnavailableError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ANSWER_SECONDS = 2.0
_CONNECT_SECONDS = 1.0
_RETRIES = 2
_CONNECTIONS = 64


def open_client(url: str) -> Redis:
    """A client that connects on first use; bytes in, bytes out.

    A command whose connection broke is sent again, at most twice: scripts must give
    the same answer when they run twice for the same ids.
    """
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff

    client: Redis = Redis.from_url(
        url,
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_keepalive=True,
        health_check_interval=15,
        max_connections=_CONNECTIONS,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), _RETRIES),
    )
    return client


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turns "it does not answer" into UnavailableError; other errors pass."""
    from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

    try:
        yield
    except (ConnectionError, TimeoutError, BusyLoadingError, OSError) as error:
        raise UnavailableError(
            "redis does not answer", metadata={"dependency": "redis"}
        ) from error
