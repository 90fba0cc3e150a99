"""The use case: permits by the limits that hold now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from clarion.ratelimit.counters import WHOLE, Counter
from clarion.ratelimit.limit_policy import LimitPolicy, scope
from clarion.ratelimit.metrics import record_acquired, record_released
from clarion.ratelimit.policy import Asked, PartialLimit, Policies
from clarion.ratelimit.ports import Permit, PermitStore, PolicyStore
from clarion.ratelimit.type_windows import (
    InMemoryTypeWindows,
    Seen,
    TypeWindows,
    counters_of,
)
from clarion.ratelimit.unchecked import unchecked
from clarion.ratelimit.window import (
    DAILY,
    DAY,
    WEEK,
    Limit,
    Usage,
    Verdict,
    Window,
    microseconds,
)
from clarion.runtime.breaker import Breaker
from clarion.runtime.clock import Clock
from clarion.runtime.errors import NotFoundError, UnavailableError

T = TypeVar("T")

_MAX_CACHED_TENANTS = 10_000
_AT_ONCE = 32
"""Calls to the stores: the client has twice as many connections, and having none left
must not look as if Valkey were down."""


class Wanted(NamedTuple):
    """One permit wanted, or to be given back."""

    request_id: str
    user_id: str
    category: str
    personal: PartialLimit | None = None
    asked: Asked | None = None
    """For limits besides those of the category; may be left out where none are."""


class Used(NamedTuple):
    """What a person has used."""

    categories: dict[str, tuple[Usage, Limit]]
    """Of every category with a policy or with use."""
    windows: list[tuple[Window, int]]
    """Of every window of the policies by category, type and channel, and of those of
    the types that were sent lately."""


class RateLimiter:
    """Judges, releases and shows permits.

    Policies are read again after ``policy_ttl``: that is how late a change made by
    another replica is noticed. While the stores do not answer, permits are judged
    without counting, by the policies that were read last; all else raises
    UnavailableError.
    """

    def __init__(
        self,
        permits: PermitStore,
        policies: PolicyStore,
        clock: Clock,
        *,
        types: TypeWindows | None = None,
        policy_ttl: timedelta = timedelta(seconds=1),
        patience: timedelta = timedelta(seconds=1),
        pause: timedelta = timedelta(seconds=1),
    ) -> None:
        self._permits = permits
        self._policies = policies
        self._clock = clock
        self._types = types or InMemoryTypeWindows()
        self._seen = Seen()
        self._policy_ttl = policy_ttl.total_seconds()
        self._breaker = Breaker("valkey", patience, pause, clock)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._cached: dict[str, tuple[float, Policies]] = {}

    async def looks_closely(self, tenant: str) -> bool:
        """Whether the tenant has policies for which ``Wanted.asked`` is needed."""
        return bool((await self._known_policies(tenant)).scoped)

    async def acquire(self, tenant: str, wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict for each permit wanted, judged in order."""
        began = self._clock.monotonic()
        verdicts = await self._judged(tenant, wanted, self._permits.acquire)
        await self._keep_windows(tenant, wanted)
        record_acquired(verdicts, timedelta(seconds=self._clock.monotonic() - began))
        return verdicts

    async def peek(self, tenant: str, wanted: Sequence[Wanted]) -> list[Verdict]:
        """What ``acquire`` would answer to each alone; takes and counts nothing."""
        return await self._judged(tenant, wanted, self._permits.peek)

    async def release(self, tenant: str, wanted: Sequence[Wanted]) -> int:
        """Gives permits back; how many had been taken.

        What names channels gives back only what was counted for them.
        """
        policies = await self._policies_of(tenant)
        permits = [
            Permit(
                one.request_id,
                one.user_id,
                one.category,
                counters=tuple(
                    Counter(name, WHOLE, ())
                    for name in policies.scopes(one.category, one.asked)
                ),
            )
            for one in wanted
        ]
        released = await self._permits.release(tenant, permits)
        record_released(released)
        return released

    async def usage(self, tenant: str, user_id: str) -> Used:
        """What a person has used of the tenant's limits."""
        policies = await self._policies_of(tenant)
        now = self._now()
        used = await self._permits.usage(tenant, user_id, policies.all(), now)
        counters = [
            Counter(scope(one.category, one.type, one.channel), WHOLE, one.windows)
            for one in policies.scoped
            if one.windows
        ]
        counters += counters_of(await self._types.get(tenant, now))
        counts = await self._permits.count(tenant, user_id, counters, now)
        return Used(
            {
                category: (usage, policies.limit(category))
                for category, usage in used.items()
            },
            [
                (window, count)
                for counter, own in zip(counters, counts, strict=True)
                for window, count in zip(counter.windows, own, strict=True)
            ],
        )

    async def policies(self, tenant: str) -> Policies:
        """The tenant's limits; never from the cache."""
        return await self._policies.get(tenant)

    async def put_policy(
        self, tenant: str, category: str, limit: PartialLimit
    ) -> Limit:
        """Sets a limit and returns the one that holds from now on.

        Raises PreconditionError where the tenant has too many.
        """
        await self._policies.put(tenant, category, limit)
        self._cached.pop(tenant, None)
        return (await self._policies_of(tenant)).limit(category)

    async def put_scoped(self, tenant: str, policy: LimitPolicy) -> None:
        """Sets a policy; PreconditionError where the tenant has too many."""
        await self._policies.put_scoped(tenant, policy)
        self._cached.pop(tenant, None)

    async def delete_scoped(self, tenant: str, policy_id: str) -> None:
        """Removes a policy; NotFoundError where there is none."""
        if not await self._policies.delete_scoped(tenant, policy_id):
            raise NotFoundError("there is no such limit policy")
        self._cached.pop(tenant, None)

    async def _keep_windows(self, tenant: str, wanted: Sequence[Wanted]) -> None:
        """For ``usage``: a permit goes on without, and the next one keeps them."""
        windows = {
            one.asked.type: one.asked.windows
            for one in wanted
            if one.asked is not None and one.asked.windows
        }
        if not windows:
            return
        now = self._now()
        new = self._seen.new(tenant, windows, now)
        if not new:
            return
        with suppress(UnavailableError):
            async with self._turns:
                await self._breaker.call(lambda: self._types.put(tenant, new, now))
            self._seen.kept(tenant, new, now)

    async def _judged(
        self,
        tenant: str,
        wanted: Sequence[Wanted],
        judge: Callable[
            [str, Sequence[Permit], int], Coroutine[Any, Any, list[Verdict]]
        ],
    ) -> list[Verdict]:
        policies = await self._known_policies(tenant)
        permits = _limited(policies, wanted)
        now = self._now()
        try:
            async with self._turns:
                verdicts = await self._breaker.call(lambda: judge(tenant, permits, now))
        except UnavailableError:
            verdicts = [
                unchecked(policies, permit, one.asked)
                for permit, one in zip(permits, wanted, strict=True)
            ]
        for index, verdict in enumerate(verdicts):
            if verdict.exceeded and not verdict.policy_id:
                category, personal = wanted[index][2:4]
                span = DAY if verdict.exceeded == DAILY else WEEK
                verdicts[index] = verdict._replace(
                    policy_id=policies.blamed(category, personal, span)
                )
        return verdicts

    async def _known_policies(self, tenant: str) -> Policies:
        """The policies that hold, or the last that were read."""
        cached = self._cached.get(tenant)
        if cached is not None and self._is_fresh(cached[0]):
            return cached[1]
        try:
            async with self._turns:
                return await self._policies_of(tenant, self._breaker)
        except UnavailableError:
            return Policies() if cached is None else cached[1]

    async def _policies_of(
        self, tenant: str, breaker: Breaker | None = None
    ) -> Policies:
        cached = self._cached.get(tenant)
        if cached is not None and self._is_fresh(cached[0]):
            return cached[1]
        now = self._clock.monotonic()
        if breaker is None:
            policies = await self._policies.get(tenant)
        else:
            policies = await breaker.call(lambda: self._policies.get(tenant))
        if len(self._cached) >= _MAX_CACHED_TENANTS:
            self._cached.clear()
        # Dated from before the read, so that it is never older than it looks.
        self._cached[tenant] = (now, policies)
        return policies

    def _is_fresh(self, read: float) -> bool:
        return self._clock.monotonic() - read < self._policy_ttl

    def _now(self) -> int:
        return microseconds(self._clock.now())


def _limited(policies: Policies, wanted: Sequence[Wanted]) -> list[Permit]:
    limits: dict[str, Limit] = {}
    counters: dict[Any, tuple[Counter, ...]] = {}
    permits = []
    for request_id, user_id, category, personal, asked in wanted:
        limit = limits.get(category)
        if limit is None:
            limit = limits[category] = policies.limit(category)
        if personal is not None:
            limit = personal.stricter(limit)
        if asked is None:
            permits.append(Permit(request_id, user_id, category, limit))
            continue
        key = (category, personal, asked)
        own = counters.get(key)
        if own is None:
            own = counters[key] = policies.counters(category, personal, asked)
        permits.append(
            Permit(request_id, user_id, category, limit, own, len(asked.channels))
        )
    return permits
