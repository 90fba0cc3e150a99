"""What an idempotency key was used for: the digest of the body, remembered in Valkey.

A reservation is short until the notification is stored, then it lasts for the window.
A refused or failed send is never remembered as an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.runtime.keys import idempotency_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

RESERVED_FOR = timedelta(seconds=60)


class Use(Enum):
    """What a reservation found."""

    NEW = "new"
    REPEATED = "repeated"
    """The same body, not known to be stored: store it again, ids fold it."""
    STORED = "stored"
    """The same body, stored."""
    REUSED = "reused"
    """Another body."""


@dataclass(frozen=True, slots=True)
class KeyedBody:
    """A notification that came with an idempotency key."""

    tenant: str
    notification_id: str
    digest: str


class IdempotencyKeys(Protocol):
    """Remembers the bodies that keys were used with."""

    async def reserve(self, bodies: Sequence[KeyedBody]) -> Sequence[Use]:
        """Judges the bodies in order, two of one call included."""
        ...

    async def confirm(self, bodies: Sequence[KeyedBody]) -> None:
        """The bodies are stored."""
        ...

    async def forget(self, bodies: Sequence[KeyedBody]) -> None:
        """The bodies were refused; other bodies may use the keys."""
        ...


def digest_of(notification: Notification) -> str:
    """The digest of a body; equal bodies have equal digests."""
    encoded = notification.SerializeToString(deterministic=True)
    return blake2b(encoded, digest_size=16).hexdigest()


_PENDING, _STORED = "p", "s"
_FORGET = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class ValkeyIdempotencyKeys:
    """Implements IdempotencyKeys; raises UnavailableError without Valkey."""

    def __init__(self, valkey: Redis, window: timedelta) -> None:
        self._valkey = valkey
        self._window = window

    async def reserve(self, bodies: Sequence[KeyedBody]) -> Sequence[Use]:
        async with self._valkey.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.set(
                    idempotency_key(body.tenant, body.notification_id),
                    _PENDING + body.digest,
                    nx=True,
                    get=True,
                    px=RESERVED_FOR,
                )
            with redis_errors():
                found = await pipeline.execute()
        return [_use(body, before) for body, before in zip(bodies, found, strict=True)]

    async def confirm(self, bodies: Sequence[KeyedBody]) -> None:
        async with self._valkey.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.set(
                    idempotency_key(body.tenant, body.notification_id),
                    _STORED + body.digest,
                    px=self._window,
                )
            with redis_errors():
                await pipeline.execute()

    async def forget(self, bodies: Sequence[KeyedBody]) -> None:
        async with self._valkey.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.eval(
                    _FORGET,
                    1,
                    idempotency_key(body.tenant, body.notification_id),
                    _PENDING + body.digest,
                )
            with redis_errors():
                await pipeline.execute()


def _use(body: KeyedBody, before: bytes | str | None) -> Use:
    if before is None:
        return Use.NEW
    text = before.decode() if isinstance(before, bytes) else before
    if text[1:] != body.digest:
        return Use.REUSED
    return Use.STORED if text[0] == _STORED else Use.REPEATED


class InMemoryIdempotencyKeys:
    """Implements IdempotencyKeys for tests; forgets nothing by time."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    async def reserve(self, bodies: Sequence[KeyedBody]) -> Sequence[Use]:
        uses = []
        for body in bodies:
            key = idempotency_key(body.tenant, body.notification_id)
            uses.append(_use(body, self._found.get(key)))
            self._found.setdefault(key, _PENDING + body.digest)
        return uses

    async def confirm(self, bodies: Sequence[KeyedBody]) -> None:
        for body in bodies:
            key = idempotency_key(body.tenant, body.notification_id)
            self._found[key] = _STORED + body.digest

    async def forget(self, bodies: Sequence[KeyedBody]) -> None:
        for body in bodies:
            key = idempotency_key(body.tenant, body.notification_id)
            if self._found.get(key) == _PENDING + body.digest:
                del self._found[key]
