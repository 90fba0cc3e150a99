"""Collapse keys: a later notification takes the place of one that is not sent yet.

The latest one of a person and a key is recorded before its jobs are published; every
claim of an older delivery looks for it. Later is who was accepted later and, of two
that were accepted in the same microsecond, whose id is greater.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.plan import (
    DEFERRED,
    DIGESTED,
    PLANNED,
    STANDBY,
    Plan,
)
from clarion.runtime.keys import latest_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

SUPERSEDED = "superseded"
COLLAPSE_KEY = "collapse_key"
"""The reason of what is superseded."""

_OPEN = frozenset({PLANNED, DEFERRED, STANDBY, DIGESTED})
"""Outcomes after which a notification is still to be sent."""

Place = tuple[int, str]
"""When it was accepted, in microseconds since 1970, and its id."""


class Latest(Protocol):
    """The latest notification by key. Raises UnavailableError."""

    async def look(self, keys: Sequence[str]) -> Sequence[Place | None]:
        """The latest of each."""
        ...

    async def record(self, places: Mapping[str, Place]) -> None:
        """Keeps those that are later than what is there; repeating is safe."""
        ...


class Collapsing:
    """Supersedes plans, and has them supersede what came before."""

    def __init__(self, latest: Latest) -> None:
        self._latest = latest

    async def judge(self, plans: Sequence[Plan]) -> None:
        """Takes back what a later notification supersedes already.

        Before a permit is taken. What comes later than this is seen by the claims.
        """
        keyed = _keyed(plans)
        if not keyed:
            return
        names = list(keyed)
        known = await self._latest.look(names)
        for name, latest in zip(names, known, strict=True):
            # A plan of this batch may still be refused by the limiter: but then so
            # would be the others, unless another limit holds for them.
            newest: dict[str, Place] = {}
            for plan in keyed[name]:
                at, category = _place(plan.item), plan.category
                newest[category] = max(newest.get(category, at), at)
            for plan in keyed[name]:
                at = _place(plan.item)
                if _is_newer(newest[plan.category], at) or (
                    latest is not None and _is_newer(latest, at)
                ):
                    _supersede(plan)

    async def superseded(self, items: Sequence[IntakeItem]) -> set[str]:
        """Those of one tenant that a later notification took the place of, by id."""
        keyed = {
            item.notification_id: latest_key(
                item.tenant_id,
                item.notification.user_id,
                item.notification.collapse_key,
            )
            for item in items
            if item.notification.collapse_key
        }
        if not keyed:
            return set()
        names = list(dict.fromkeys(keyed.values()))
        latest = dict(zip(names, await self._latest.look(names), strict=True))
        over: set[str] = set()
        for item in items:
            place = latest.get(keyed.get(item.notification_id, ""))
            if place is not None and _is_newer(place, _place(item)):
                over.add(item.notification_id)
        return over

    async def record(self, plans: Sequence[Plan]) -> None:
        """Has the plans supersede what came before; to be done before they go out."""
        keyed = _keyed(plans)
        if keyed:
            await self._latest.record(
                {
                    name: max(_place(plan.item) for plan in own)
                    for name, own in keyed.items()
                }
            )


def _keyed(plans: Sequence[Plan]) -> dict[str, list[Plan]]:
    """The plans with a key that are still to be sent, by person and key."""
    found: dict[str, list[Plan]] = defaultdict(list)
    for plan in plans:
        notification = plan.notification
        if notification.collapse_key and any(
            channel.outcome in _OPEN for channel in plan.channels
        ):
            key = latest_key(
                plan.item.tenant_id, notification.user_id, notification.collapse_key
            )
            found[key].append(plan)
    return found


def _place(item: IntakeItem) -> Place:
    return item.accepted_time.ToMicroseconds(), item.notification_id


def _is_newer(other: Place, own: Place) -> bool:
    return other[1] != own[1] and other > own


def _supersede(plan: Plan) -> None:
    for channel in plan.channels:
        if channel.outcome in _OPEN:
            channel.object(SUPERSEDED, COLLAPSE_KEY)
            channel.release_time = None


# KEYS: the keys. ARGV: milliseconds, then the time and the id of each. As claims.lua.
_RECORD = """
for i, key in ipairs(KEYS) do
  local at, id = ARGV[2 * i], ARGV[2 * i + 1]
  local latest = redis.call('GET', key)
  local is_newer = true
  if latest then
    local last, other = string.match(latest, '^(%d+) (%S+)$')
    local mine, theirs = tonumber(at), tonumber(last)
    is_newer = mine > theirs or mine == theirs and id >= other
  end
  if is_newer then
    redis.call('SET', key, at .. ' ' .. id, 'PX', ARGV[1])
  end
end
"""


class ValkeyLatest:
    """Implements Latest where the claims of the channels look for it."""

    def __init__(self, valkey: Redis, window: timedelta) -> None:
        self._valkey: Any = valkey
        self._record: Any = valkey.register_script(_RECORD)
        self._window = window // timedelta(milliseconds=1)

    async def look(self, keys: Sequence[str]) -> Sequence[Place | None]:
        with redis_errors():
            values = await self._valkey.mget(keys)
        return [_read(value) for value in values]

    async def record(self, places: Mapping[str, Place]) -> None:
        times = [part for place in places.values() for part in place]
        with redis_errors():
            await self._record(list(places), [self._window, *times])


def _read(value: bytes | None) -> Place | None:
    if value is None:
        return None
    at, _, notification_id = value.decode().partition(" ")
    return int(at), notification_id


class InMemoryLatest:
    """Implements Latest for tests. Set ``error`` to make every call raise it."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.calls = 0
        self.error: Exception | None = None

    async def look(self, keys: Sequence[str]) -> Sequence[Place | None]:
        self._called()
        return [self.places.get(key) for key in keys]

    async def record(self, places: Mapping[str, Place]) -> None:
        self._called()
        for key, place in places.items():
            self.places[key] = max(place, self.places.get(key, place))

    def _called(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
