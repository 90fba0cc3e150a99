"""Telling an escalation that the person was reached.

Whoever learns of a delivery or a read marks it at once; the router's step asks for the
mark, on the same clock. Only what an escalation waits for takes memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from clarion.runtime.delivery.script import Script
from clarion.runtime.keys import escalation_key

if TYPE_CHECKING:
    from redis.asyncio import Redis

DELIVERED = "delivered"
READ = "read"

_MOST_PER_CALL = 512


class Reached(Protocol):
    """Where it is marked that somebody was reached."""

    async def mark(
        self, tenant: str, notification_ids: Sequence[str], how: str
    ) -> None:
        """Marks them now, as DELIVERED or READ; repeating it changes nothing.

        Raises UnavailableError.
        """
        ...


class ValkeyReached:
    """Implements Reached: one round trip for some hundreds."""

    def __init__(self, redis: Redis) -> None:
        self._mark = Script(redis, "reached.lua")

    async def mark(
        self, tenant: str, notification_ids: Sequence[str], how: str
    ) -> None:
        for start in range(0, len(notification_ids), _MOST_PER_CALL):
            run = notification_ids[start : start + _MOST_PER_CALL]
            await self._mark([escalation_key(tenant, id) for id in run], (how,))


class InMemoryReached:
    """Implements Reached for tests; ``error`` makes every call raise it."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, str, str]] = []
        """(tenant, notification, how), in the order of the calls."""
        self.error: Exception | None = None

    async def mark(
        self, tenant: str, notification_ids: Sequence[str], how: str
    ) -> None:
        if self.error is not None:
            raise self.error
        self.marks += [(tenant, id, how) for id in notification_ids]
