"""What the rate limiter needs from storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from clarion.ratelimit.counters import Counter, Taken, judge_all
from clarion.ratelimit.limit_policy import LimitPolicy
from clarion.ratelimit.policy import PartialLimit, Policies
from clarion.ratelimit.window import WEEK, Limit, Usage, Verdict, judge, usage


class Permit(NamedTuple):
    """One permit: of whom and for what."""

    request_id: str
    user_id: str
    category: str
    limit: Limit = Limit(0, 0)
    """The limit that it is judged by; of no meaning for a release."""
    counters: tuple[Counter, ...] = ()
    """All of them, that of the category first; empty where it is the only one."""
    channels: int = 0
    """How many channels were asked for."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The counters that it may be in."""
        if not self.counters:
            return (self.category,)
        return tuple(counter.scope for counter in self.counters)

    @property
    def retentions(self) -> tuple[tuple[str, int], ...]:
        """Its scopes, and for how long each remembers."""
        if not self.counters:
            return ((self.category, WEEK),)
        return tuple((counter.scope, counter.retention) for counter in self.counters)


def taken_now(
    permit: Permit, taken: Mapping[str, Mapping[str, int]], now: int
) -> Taken:
    """The verdict on one more permit of a person, and where it would be counted.

    ``taken`` is by scope: request id -> time in microseconds, older ones included.
    """
    if permit.counters:
        return judge_all(
            permit.request_id, permit.counters, permit.channels, taken, now
        )
    own = taken.get(permit.category, {})
    times = sorted(time for time in own.values() if time > now - WEEK)
    if own.get(permit.request_id, now - WEEK) > now - WEEK:
        return Taken(Verdict(True, *usage(times, now)), ())
    verdict = judge(times, now, permit.limit)
    return Taken(verdict, (permit.category,) if verdict.allowed else ())


def judged(permit: Permit, taken: Mapping[str, Mapping[str, int]], now: int) -> Verdict:
    """The verdict of ``taken_now``."""
    return taken_now(permit, taken, now).verdict


class PermitStore(Protocol):
    """Permits as long as any window needs them. All methods raise UnavailableError."""

    async def acquire(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        """Judges permits in order and keeps those that are allowed.

        A request id that holds a permit already is allowed again, whatever the limit
        is now, and counts once. Nothing is kept of what is refused.
        """
        ...

    async def peek(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        """Judges each permit by itself, as if it were acquired, and keeps nothing."""
        ...

    async def release(self, tenant: str, permits: Sequence[Permit]) -> int:
        """Gives permits back; how many of them had been taken. Safe to repeat."""
        ...

    async def usage(
        self, tenant: str, user_id: str, categories: Iterable[str], now: int
    ) -> dict[str, Usage]:
        """What a person has used of these categories and of others used lately.

        Others used by nobody of the tenant for seven days are not looked at.
        """
        ...

    async def count(
        self, tenant: str, user_id: str, counters: Sequence[Counter], now: int
    ) -> list[list[int]]:
        """What a person has used of each window of each counter."""
        ...


class PolicyStore(Protocol):
    """The limits that tenants have set. Every method raises UnavailableError."""

    async def get(self, tenant: str) -> Policies:
        """The tenant's policies as they are now."""
        ...

    async def put(self, tenant: str, category: str, limit: PartialLimit) -> None:
        """Replaces one limit; one that is open in both windows is removed.

        Raises PreconditionError where the tenant has too many.
        """
        ...

    async def put_scoped(self, tenant: str, policy: LimitPolicy) -> None:
        """Replaces one policy; PreconditionError where the tenant has too many."""
        ...

    async def delete_scoped(self, tenant: str, policy_id: str) -> bool:
        """Removes one policy; whether there was one."""
        ...
