"""The tenants' limits in Valkey: one hash per tenant."""

from __future__ import annotations

from redis.asyncio import Redis

from clarion.ratelimit.policy import MAX_OVERRIDES, PartialLimit, Policies
from clarion.ratelimit.valkey.errors import valkey_errors
from clarion.ratelimit.valkey.keys import policies_key
from clarion.runtime.errors import PreconditionError


class ValkeyPolicyStore:
    """Implements PolicyStore."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, tenant: str) -> Policies:
        with valkey_errors():
            stored = await self._redis.hgetall(policies_key(tenant))
        return Policies(
            {_text(category): _decoded(_text(raw)) for category, raw in stored.items()}
        )

    async def put(self, tenant: str, category: str, limit: PartialLimit) -> None:
        key = policies_key(tenant)
        with valkey_errors():
            if limit == PartialLimit():
                await self._redis.hdel(key, category)
                return
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hlen(key)
                pipeline.hexists(key, category)
                count, exists = await pipeline.execute()
            # Two at once may pass the limit by one, which does no harm.
            if count >= MAX_OVERRIDES and not exists:
                raise PreconditionError(f"a tenant sets at most {MAX_OVERRIDES} limits")
            await self._redis.hset(key, category, _encoded(limit))


def _encoded(limit: PartialLimit) -> str:
    return ",".join("" if count is None else str(count) for count in limit)


def _decoded(raw: str) -> PartialLimit:
    return PartialLimit(*(int(count) if count else None for count in raw.split(",")))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
