"""The tenants' limits in Valkey: two hashes per tenant."""

from __future__ import annotations

import json

from redis.asyncio import Redis

from clarion.ratelimit.limit_policy import MAX_POLICIES, LimitPolicy
from clarion.ratelimit.policy import MAX_OVERRIDES, PartialLimit, Policies
from clarion.ratelimit.valkey.errors import valkey_errors
from clarion.ratelimit.valkey.keys import policies_key, scoped_policies_key
from clarion.ratelimit.window import Window
from clarion.runtime.errors import PreconditionError


class ValkeyPolicyStore:
    """Implements PolicyStore."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, tenant: str) -> Policies:
        with valkey_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hgetall(policies_key(tenant))
                pipeline.hgetall(scoped_policies_key(tenant))
                stored, scoped = await pipeline.execute()
        return Policies(
            {_text(category): _decoded(_text(raw)) for category, raw in stored.items()},
            tuple(sorted(_policy(_text(id), raw) for id, raw in scoped.items())),
        )

    async def put(self, tenant: str, category: str, limit: PartialLimit) -> None:
        key = policies_key(tenant)
        with valkey_errors():
            if limit == PartialLimit():
                await self._redis.hdel(key, category)
                return
            if not await self._has_room(key, category, MAX_OVERRIDES):
                raise PreconditionError(f"a tenant sets at most {MAX_OVERRIDES} limits")
            await self._redis.hset(key, category, _encoded(limit))

    async def put_scoped(self, tenant: str, policy: LimitPolicy) -> None:
        key = scoped_policies_key(tenant)
        with valkey_errors():
            if not await self._has_room(key, policy.policy_id, MAX_POLICIES):
                raise PreconditionError(f"a tenant has at most {MAX_POLICIES} policies")
            await self._redis.hset(key, policy.policy_id, _json(policy))

    async def delete_scoped(self, tenant: str, policy_id: str) -> bool:
        with valkey_errors():
            return bool(await self._redis.hdel(scoped_policies_key(tenant), policy_id))

    async def _has_room(self, key: str, field: str, most: int) -> bool:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hlen(key)
            pipeline.hexists(key, field)
            count, exists = await pipeline.execute()
        # Two at once may pass the limit by one, which does no harm.
        return bool(count < most or exists)


def _encoded(limit: PartialLimit) -> str:
    return ",".join("" if count is None else str(count) for count in limit)


def _decoded(raw: str) -> PartialLimit:
    return PartialLimit(*(int(count) if count else None for count in raw.split(",")))


def _json(policy: LimitPolicy) -> str:
    named = policy._asdict()
    del named["policy_id"]
    windows = [{"span": span, "most": most} for span, most, _ in policy.windows]
    return json.dumps({**named, "windows": windows})


def _policy(policy_id: str, raw: bytes | str) -> LimitPolicy:
    named = json.loads(raw)
    windows = (
        Window(window["span"], window["most"], policy_id)
        for window in named.pop("windows")
    )
    return LimitPolicy(policy_id, windows=tuple(windows), **named)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
