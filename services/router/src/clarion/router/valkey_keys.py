"""Idempotency keys in Valkey: one script call for all keys of a request.

Values are a letter and the body's digest: ``p`` reserved once, ``r`` reserved more than
once, ``s`` stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clarion.router.idempotency import KeyedBody, Use
from clarion.runtime.breaker import Breaker
from clarion.runtime.keys import idempotency_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

RESERVED_FOR = timedelta(seconds=60)
"""Longer than a send tries to be stored; after it, a send that nobody knows the end of
does not keep its key from another body."""

# KEYS: the keys. ARGV: milliseconds, then the digest of each.
_RESERVE = """
local found = {}
for i, key in ipairs(KEYS) do
  local digest = ARGV[i + 1]
  local before = redis.call('GET', key)
  if not before then
    redis.call('SET', key, 'p' .. digest, 'PX', ARGV[1])
    found[i] = 'new'
  elseif string.sub(before, 2) ~= digest then
    found[i] = 'reused'
  elseif string.sub(before, 1, 1) == 's' then
    found[i] = 'stored'
  else
    redis.call('SET', key, 'r' .. digest, 'PX', ARGV[1])
    found[i] = 'repeated'
  end
end
return found
"""
_CONFIRM = """
for i, key in ipairs(KEYS) do
  redis.call('SET', key, 's' .. ARGV[i + 1], 'PX', ARGV[1])
end
"""
_FORGET = """
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == 'p' .. ARGV[i + 1] then redis.call('DEL', key) end
end
"""


class ValkeyIdempotencyKeys:
    """Implements IdempotencyKeys; raises UnavailableError soon without Valkey."""

    def __init__(self, valkey: Redis, window: timedelta, breaker: Breaker) -> None:
        self._valkey: Any = valkey
        self._reserve: Any = valkey.register_script(_RESERVE)
        self._confirm: Any = valkey.register_script(_CONFIRM)
        self._forget: Any = valkey.register_script(_FORGET)
        self._window = window
        self._breaker = breaker

    async def reserve(self, bodies: Sequence[KeyedBody]) -> Sequence[Use]:
        found = await self._run(self._reserve, bodies, RESERVED_FOR)
        return [Use(word.decode()) for word in found]

    async def confirm(self, bodies: Sequence[KeyedBody]) -> None:
        await self._run(self._confirm, bodies, self._window)

    async def forget(self, bodies: Sequence[KeyedBody]) -> None:
        await self._run(self._forget, bodies, RESERVED_FOR)

    async def is_known(self, tenant: str, notification_id: str) -> bool:
        """See ``naming.KnownKeys``."""
        key = idempotency_key(tenant, notification_id)

        async def call() -> bool:
            with redis_errors():
                return bool(await self._valkey.exists(key))

        return await self._breaker.call(call)

    async def _run(
        self, script: Any, bodies: Sequence[KeyedBody], lasting: timedelta
    ) -> Any:
        keys = [idempotency_key(body.tenant, body.notification_id) for body in bodies]
        args = [lasting // timedelta(milliseconds=1), *(body.digest for body in bodies)]

        async def call() -> Any:
            with redis_errors():
                return await script(keys, args)

        return await self._breaker.call(call)
