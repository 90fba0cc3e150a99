"""The ports in memory: for tests, and the reference that Valkey is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clarion.ratelimit.policy import MAX_OVERRIDES, PartialLimit, Policies
from clarion.ratelimit.ports import Permit, peeked
from clarion.ratelimit.window import WEEK, Usage, Verdict, judge, usage
from clarion.runtime.errors import PreconditionError

_Owner = tuple[str, str, str]


class InMemoryPermitStore:
    """Permits in a dictionary, judged by the pure arithmetic."""

    def __init__(self) -> None:
        self._taken: dict[_Owner, dict[str, int]] = {}

    async def acquire(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        return [self._acquire(tenant, permit, now) for permit in permits]

    def _acquire(self, tenant: str, permit: Permit, now: int) -> Verdict:
        owner = (tenant, permit.category, permit.user_id)
        taken = self._taken.setdefault(owner, {})
        for request_id in [id for id, time in taken.items() if time <= now - WEEK]:
            del taken[request_id]
        times = sorted(taken.values())
        if permit.request_id in taken:
            return Verdict(True, *usage(times, now))
        verdict = judge(times, now, permit.limit)
        if verdict.allowed:
            taken[permit.request_id] = now
        return verdict

    async def peek(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        return [
            peeked(
                self._taken.get((tenant, permit.category, permit.user_id), {}),
                permit,
                now,
            )
            for permit in permits
        ]

    async def release(self, tenant: str, permits: Sequence[Permit]) -> int:
        released = 0
        for permit in permits:
            owner = (tenant, permit.category, permit.user_id)
            taken = self._taken.get(owner, {})
            released += taken.pop(permit.request_id, None) is not None
        return released

    async def usage(
        self, tenant: str, user_id: str, categories: Iterable[str], now: int
    ) -> dict[str, Usage]:
        used = {category: Usage(0, 0) for category in categories}
        for (of_tenant, category, of_user), taken in self._taken.items():
            if (of_tenant, of_user) == (tenant, user_id):
                found = usage(sorted(taken.values()), now)
                if found.weekly or category in used:
                    used[category] = found
        return used


class InMemoryPolicyStore:
    """Policies in a dictionary."""

    def __init__(self) -> None:
        self._policies: dict[str, Policies] = {}

    async def get(self, tenant: str) -> Policies:
        return self._policies.get(tenant, Policies())

    async def put(self, tenant: str, category: str, limit: PartialLimit) -> None:
        changed = (await self.get(tenant)).with_override(category, limit)
        if len(changed.overrides) > MAX_OVERRIDES:
            raise PreconditionError(f"a tenant sets at most {MAX_OVERRIDES} limits")
        self._policies[tenant] = changed
