"""What an idempotency key was used for: the digest of the body.

A reservation is short until the notification is stored, then it lasts for the window.
A refused or failed send is never remembered as an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Protocol

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.runtime.keys import idempotency_key


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
    """Remembers the bodies that keys were used with; each call is for one tenant.

    Every call may raise UnavailableError.
    """

    async def reserve(self, bodies: Sequence[KeyedBody]) -> Sequence[Use]:
        """Judges the bodies in order, two of one call included."""
        ...

    async def confirm(self, bodies: Sequence[KeyedBody]) -> None:
        """The bodies are stored."""
        ...

    async def forget(self, bodies: Sequence[KeyedBody]) -> None:
        """The bodies were refused; other bodies may use the keys.

        A key that was reserved more than once is kept until its reservation runs out:
        what became of the other sends is not known here.
        """
        ...


def digest_of(notification: Notification) -> str:
    """The digest of a body; equal bodies have equal digests."""
    encoded = notification.SerializeToString(deterministic=True)
    return blake2b(encoded, digest_size=16).hexdigest()


@dataclass(slots=True)
class _Found:
    digest: str
    reservations: int = 1
    is_stored: bool = False


class InMemoryIdempotencyKeys:
    """Implements IdempotencyKeys in one process; forgets nothing by time.

    Set ``error`` to make every call raise it.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._found: dict[str, _Found] = {}

    async def reserve(self, bodies: Sequence[KeyedBody]) -> Sequence[Use]:
        self._fail()
        return [self._reserve(body) for body in bodies]

    def _reserve(self, body: KeyedBody) -> Use:
        key = idempotency_key(body.tenant, body.notification_id)
        found = self._found.get(key)
        if found is None:
            self._found[key] = _Found(body.digest)
            return Use.NEW
        if found.digest != body.digest:
            return Use.REUSED
        if found.is_stored:
            return Use.STORED
        found.reservations += 1
        return Use.REPEATED

    async def confirm(self, bodies: Sequence[KeyedBody]) -> None:
        self._fail()
        for body in bodies:
            key = idempotency_key(body.tenant, body.notification_id)
            self._found[key] = _Found(body.digest, is_stored=True)

    async def forget(self, bodies: Sequence[KeyedBody]) -> None:
        self._fail()
        for body in bodies:
            key = idempotency_key(body.tenant, body.notification_id)
            if self._found.get(key) == _Found(body.digest):
                del self._found[key]

    async def is_known(self, tenant: str, notification_id: str) -> bool:
        """See ``naming.KnownKeys``."""
        self._fail()
        return idempotency_key(tenant, notification_id) in self._found

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
