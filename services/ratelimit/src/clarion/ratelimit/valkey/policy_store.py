"""The tenants' limits in Valkey: two hashes per tenant."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha1

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from clarion.ratelimit.limit_policy import MAX_POLICIES, LimitPolicy
from clarion.ratelimit.policy import MAX_OVERRIDES, PartialLimit, Policies
from clarion.ratelimit.valkey.errors import valkey_errors
from clarion.ratelimit.valkey.keys import policies_key, scoped_policies_key
from clarion.ratelimit.valkey.replies import text
from clarion.ratelimit.window import Window
from clarion.runtime.errors import PreconditionError

_SCRIPT = "return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}"
"""Both hashes by one command of the kind for which there is a line of its own: every
tenant's are read again each second."""
_SHA = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class ValkeyPolicyStore:
    """Implements PolicyStore."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, tenant: str) -> Policies:
        with valkey_errors():
            stored, scoped = await self._read(tenant)
        return Policies(
            {text(category): _decoded(text(raw)) for category, raw in _pairs(stored)},
            tuple(sorted(_policy(text(id), raw) for id, raw in _pairs(scoped))),
        )

    async def _read(self, tenant: str) -> list[list[bytes | str]]:
        keys = (policies_key(tenant), scoped_policies_key(tenant))
        call = ("EVALSHA", _SHA, len(keys), *keys)
        try:
            return await self._redis.execute_command(*call)  # type: ignore[no-any-return]
        except NoScriptError:  # a restarted or flushed server
            await self._redis.script_load(_SCRIPT)
            return await self._redis.execute_command(*call)  # type: ignore[no-any-return]

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


def _pairs(flat: Sequence[bytes | str]) -> Iterable[tuple[bytes | str, bytes | str]]:
    return zip(flat[::2], flat[1::2], strict=True)


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
