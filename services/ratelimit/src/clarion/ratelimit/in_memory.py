"""The ports in memory: for tests, and the reference that Valkey is compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from clarion.ratelimit.counters import Counter
from clarion.ratelimit.limit_policy import MAX_POLICIES, LimitPolicy
from clarion.ratelimit.policy import MAX_OVERRIDES, PartialLimit, Policies
from clarion.ratelimit.ports import Permit, judged, taken_now
from clarion.ratelimit.window import Usage, Verdict, usage
from clarion.runtime.errors import PreconditionError

_Owner = tuple[str, str]


class InMemoryPermitStore:
    """Permits in a dictionary, judged by the pure arithmetic."""

    def __init__(self) -> None:
        self._taken: dict[_Owner, dict[str, dict[str, int]]] = defaultdict(dict)

    async def acquire(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        return [self._acquire(tenant, permit, now) for permit in permits]

    def _acquire(self, tenant: str, permit: Permit, now: int) -> Verdict:
        taken = self._taken[tenant, permit.user_id]
        for scope, retention in permit.retentions:
            own = taken.get(scope, {})
            for request_id in [id for id, at in own.items() if at <= now - retention]:
                del own[request_id]
        verdict, scopes = taken_now(permit, taken, now)
        for scope in scopes:
            taken.setdefault(scope, {})[permit.request_id] = now
        return verdict

    async def peek(
        self, tenant: str, permits: Sequence[Permit], now: int
    ) -> list[Verdict]:
        return [
            judged(permit, self._taken[tenant, permit.user_id], now)
            for permit in permits
        ]

    async def release(self, tenant: str, permits: Sequence[Permit]) -> int:
        released = 0
        for permit in permits:
            taken = self._taken[tenant, permit.user_id]
            found = [
                taken.get(scope, {}).pop(permit.request_id, None)
                for scope in permit.scopes
            ]
            released += any(time is not None for time in found)
        return released

    async def usage(
        self, tenant: str, user_id: str, categories: Iterable[str], now: int
    ) -> dict[str, Usage]:
        used = {category: Usage(0, 0) for category in categories}
        for scope, taken in self._taken[tenant, user_id].items():
            found = usage(sorted(taken.values()), now)
            if scope in used or (found.weekly and not scope.startswith("~")):
                used[scope] = found
        return used

    async def count(
        self, tenant: str, user_id: str, counters: Sequence[Counter], now: int
    ) -> list[list[int]]:
        taken = self._taken[tenant, user_id]
        return [
            [
                sum(time > now - span for time in taken.get(scope, {}).values())
                for span, _, _ in windows
            ]
            for scope, _, windows in counters
        ]


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

    async def put_scoped(self, tenant: str, policy: LimitPolicy) -> None:
        now = await self.get(tenant)
        known = {one.policy_id: one for one in now.scoped}
        known[policy.policy_id] = policy
        if len(known) > MAX_POLICIES:
            raise PreconditionError(f"a tenant has at most {MAX_POLICIES} policies")
        self._policies[tenant] = Policies(now.overrides, tuple(sorted(known.values())))

    async def delete_scoped(self, tenant: str, policy_id: str) -> bool:
        now = await self.get(tenant)
        kept = tuple(one for one in now.scoped if one.policy_id != policy_id)
        self._policies[tenant] = Policies(now.overrides, kept)
        return len(kept) < len(now.scoped)
