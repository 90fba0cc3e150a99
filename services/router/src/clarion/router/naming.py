"""Which notification or broadcast a caller means."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from clarion.runtime.errors import UnavailableError
from clarion.runtime.ids import derived, notification_id_for_key


class KnownKeys(Protocol):
    """Which notifications and broadcasts were accepted under a key."""

    async def is_known(self, tenant: str, notification_id: str) -> bool:
        """Whether one was, as far as it is remembered. Raises UnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """A notification or broadcast, and how the caller named it."""

    notification_id: str
    idempotency_key: str = ""


class Naming:
    """Finds what a key was used for.

    A send and a broadcast under one key have different ids; who used it for both means
    the send, and names the broadcast by its id.
    """

    def __init__(self, keys: KnownKeys) -> None:
        self._keys = keys

    async def find(self, tenant: str, notification_id: str, key: str) -> Named:
        """By the id, else by the key; while Valkey does not answer, the send's."""
        if notification_id:
            return Named(notification_id)
        sent = notification_id_for_key(tenant, key)
        told = broadcast_id_for_key(tenant, key)
        with suppress(UnavailableError):
            if await self._keys.is_known(tenant, told) and not (
                await self._keys.is_known(tenant, sent)
            ):
                return Named(told, key)
        return Named(sent, key)


def broadcast_id_for_key(tenant: str, key: str) -> str:
    """The id of the broadcast that a tenant makes under an idempotency key."""
    return derived("broadcast", tenant, key)
