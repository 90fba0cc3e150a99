"""Redis or Valkey: one client, with timeouts, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from clarion.runtime.errors import UnavailableError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ANSWER_SECONDS = 2.0
_CONNECT_SECONDS = 1.0
_RETRIES = 2
_CONNECTIONS = 64


def open_client(url: str) -> Redis:
    """A client that connects on first use; bytes in, bytes out.

    A command whose connection broke is sent again, at most three times: scripts must
    give the same answer when they run twice for the same ids.
    """
    from redis.asyncio import Connection
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff

    client = _client_class().from_url(
        url,
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_keepalive=True,
        health_check_interval=15,
        max_connections=_CONNECTIONS,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), _RETRIES),
    )
    # The URL chooses between TCP and TLS, so its choice is what is extended.
    pool: Any = client.connection_pool
    client.has_line = pool.connection_class is Connection and not (
        {"credential_provider", "decode_responses"} & pool.connection_kwargs.keys()
    )
    pool.connection_class = _packing(pool.connection_class)
    redis: Redis = client
    return redis


def _client_class() -> Any:
    try:
        from clarion.runtime.valkey_line import Client
    except ImportError:  # no hiredis
        from redis.asyncio import Redis

        return Redis
    return Client


@cache
def _packing(connection: Any) -> Any:
    """The class of connections with commands packed in C, where hiredis is there.

    redis.asyncio packs them in Python, at 0.6 us for each argument: the claims of 500
    deliveries are 1,500 arguments. hiredis takes 0.08 us and gives the same bytes.
    """
    try:
        from hiredis import pack_command as pack
    except ImportError:
        return connection

    class PackingConnection(connection):  # type: ignore[misc]  # a class of redis-py
        """A connection that packs commands with hiredis."""

        def pack_command(self, *args: Any) -> list[bytes]:
            name = args[0].encode() if isinstance(args[0], str) else args[0]
            # A name of two words, such as SCRIPT LOAD, is two arguments.
            words = name.split() if b" " in name else (name,)
            try:
                return [pack((*words, *args[1:]))]
            except TypeError:
                # redis-py knows more types, and has its own error for the others.
                packed: list[bytes] = super().pack_command(*args)
                return packed

    return PackingConnection


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
