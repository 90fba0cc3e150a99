"""The use case: permits by the limits that hold now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from clarion.ratelimit.metrics import record_acquired, record_released
from clarion.ratelimit.policy import PartialLimit, Policies
from clarion.ratelimit.ports import Permit, PermitStore, PolicyStore
from clarion.ratelimit.window import Limit, Usage, Verdict, microseconds
from clarion.runtime.clock import Clock

_MAX_CACHED_TENANTS = 10_000


class Wanted(NamedTuple):
    """One permit wanted, or to be given back."""

    request_id: str
    user_id: str
    category: str
    personal: PartialLimit | None = None


class RateLimiter:
    """Judges, releases and shows permits. Every method raises UnavailableError.

    Policies are read again after ``policy_ttl``: that is how late a change made by
    another replica is noticed.
    """

    def __init__(
        self,
        permits: PermitStore,
        policies: PolicyStore,
        clock: Clock,
        *,
        policy_ttl: timedelta = timedelta(seconds=1),
    ) -> None:
        self._permits = permits
        self._policies = policies
        self._clock = clock
        self._policy_ttl = policy_ttl.total_seconds()
        self._cached: dict[str, tuple[float, Policies]] = {}

    async def acquire(self, tenant: str, wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict for each permit wanted, judged in order."""
        permits = await self._limited(tenant, wanted)
        began = self._clock.monotonic()
        verdicts = await self._permits.acquire(tenant, permits, self._now())
        record_acquired(verdicts, timedelta(seconds=self._clock.monotonic() - began))
        return verdicts

    async def peek(self, tenant: str, wanted: Sequence[Wanted]) -> list[Verdict]:
        """What ``acquire`` would answer to each alone; takes and counts nothing."""
        permits = await self._limited(tenant, wanted)
        return await self._permits.peek(tenant, permits, self._now())

    async def release(self, tenant: str, wanted: Sequence[Wanted]) -> int:
        """Gives permits back; how many had been taken."""
        released = await self._permits.release(
            tenant, [Permit(*one[:3]) for one in wanted]
        )
        record_released(released)
        return released

    async def usage(self, tenant: str, user_id: str) -> dict[str, tuple[Usage, Limit]]:
        """What a person has used of each category with a policy or with use."""
        policies = await self._policies_of(tenant)
        used = await self._permits.usage(tenant, user_id, policies.all(), self._now())
        return {
            category: (usage, policies.limit(category))
            for category, usage in used.items()
        }

    async def policies(self, tenant: str) -> dict[str, Limit]:
        """The tenant's limits, the built-in ones included; never from the cache."""
        return (await self._policies.get(tenant)).all()

    async def put_policy(
        self, tenant: str, category: str, limit: PartialLimit
    ) -> Limit:
        """Sets a limit and returns the one that holds from now on.

        Raises PreconditionError where the tenant has too many.
        """
        await self._policies.put(tenant, category, limit)
        self._cached.pop(tenant, None)
        return (await self._policies_of(tenant)).limit(category)

    async def _limited(self, tenant: str, wanted: Sequence[Wanted]) -> list[Permit]:
        policies = await self._policies_of(tenant)
        limits: dict[str, Limit] = {}
        permits = []
        for request_id, user_id, category, personal in wanted:
            limit = limits.get(category)
            if limit is None:
                limit = limits[category] = policies.limit(category)
            if personal is not None:
                limit = personal.stricter(limit)
            permits.append(Permit(request_id, user_id, category, limit))
        return permits

    async def _policies_of(self, tenant: str) -> Policies:
        cached = self._cached.get(tenant)
        now = self._clock.monotonic()
        if cached is not None and now - cached[0] < self._policy_ttl:
            return cached[1]
        policies = await self._policies.get(tenant)
        if len(self._cached) >= _MAX_CACHED_TENANTS:
            self._cached.clear()
        # Dated from before the read, so that it is never older than it looks.
        self._cached[tenant] = (now, policies)
        return policies

    def _now(self) -> int:
        return microseconds(self._clock.now())
