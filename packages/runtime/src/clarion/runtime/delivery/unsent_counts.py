"""How many deliveries of a notification ended without being sent, in one place for all.

A notification may be decided in parts: a channel is deferred, or stands by until those
before it failed. So each part tells how many deliveries are planned so far and whether
one follows, the channels tell what ended unsent, and whoever completes the count gives
back the permit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from clarion.runtime.delivery.script import Script
from clarion.runtime.keys import unsent_key

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT = timedelta(days=3)
"""How long a count is known that nothing follows: longer than retries last."""
KEPT_OPEN = timedelta(days=10)
"""How long one that goes on: longer than a limit of a week defers."""

_MILLISECOND = timedelta(milliseconds=1)
_MOST_PER_CALL = 256


class Count(NamedTuple):
    """What one part, or what ended of it, adds to a count."""

    tenant: str
    name: str
    """The notification, or ``<notification>:<channel>``."""
    planned: int
    """Deliveries that are planned so far; of several figures the largest holds."""
    is_last: bool
    """Whether nothing follows."""
    back: bytes = b""
    """What is given back in the end: an IntakeItem. Empty where it is not known."""
    ended: Sequence[str] = ()
    """Deliveries that ended without being sent."""


class UnsentCounts(Protocol):
    """Adds to counts. Raises UnavailableError; repeating it is safe."""

    async def add(self, counts: Sequence[Count]) -> Sequence[bytes | None]:
        """For each what is to be given back, where all of it ended unsent."""
        ...


class ValkeyUnsentCounts:
    """Implements UnsentCounts."""

    def __init__(self, redis: Redis) -> None:
        self._add = Script(redis, "unsent.lua")

    async def add(self, counts: Sequence[Count]) -> Sequence[bytes | None]:
        found: list[bytes | None] = [None] * len(counts)
        for places in _by_tenant(counts):
            own = [counts[place] for place in places]
            args: list[bytes | str | int] = [
                KEPT_OPEN // _MILLISECOND,
                KEPT // _MILLISECOND,
            ]
            for one in own:
                args += (one.planned, int(one.is_last), one.back, len(one.ended))
                args += one.ended
            keys = [unsent_key(one.tenant, one.name) for one in own]
            for place, answer in zip(places, await self._add(keys, args), strict=True):
                found[place] = answer
        return found


def _by_tenant(counts: Sequence[Count]) -> list[list[int]]:
    """Places by tenant: a script may only touch keys of one hash slot."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(counts):
        places.setdefault(one.tenant, []).append(place)
    return [
        run[start : start + _MOST_PER_CALL]
        for run in places.values()
        for start in range(0, len(run), _MOST_PER_CALL)
    ]


@dataclass(slots=True)
class _Known:
    planned: int = 0
    is_last: bool = False
    back: bytes = b""
    ended: set[str] = field(default_factory=set)


class InMemoryUnsentCounts:
    """Implements UnsentCounts for tests. Set ``error`` to make every call raise it."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], _Known] = {}
        self.error: Exception | None = None

    async def add(self, counts: Sequence[Count]) -> Sequence[bytes | None]:
        if self.error is not None:
            raise self.error
        return [self._added(one) for one in counts]

    def _added(self, one: Count) -> bytes | None:
        known = self.known.setdefault((one.tenant, one.name), _Known())
        known.planned = max(known.planned, one.planned)
        known.is_last |= one.is_last
        known.back = one.back or known.back
        known.ended |= set(one.ended)
        is_complete = known.is_last and 0 < len(known.ended) >= known.planned
        return known.back if is_complete else None
