"""Profiles in Valkey, such that a stale one cannot be filled in.

A reader that misses takes a *lease* on the key before it reads Postgres, and fills the
key only while the lease is there. A writer drops the key after its commit, and the
lease with it. So whoever read before that commit finds its lease gone; whoever leases
after the drop reads what was committed. No clock takes part in this.

One case is left: the writer dies between commit and drop. For it a *guard* is put on
the key before the commit; it refuses leases for some seconds, longer than a commit
takes. What can still be stale after two such accidents at once ends with the TTL.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from importlib.resources import files
from time import monotonic
from typing import Any

from redis.asyncio import Redis

from clarion.recipients import metrics
from clarion.recipients.cache.admission import Admission
from clarion.runtime.errors import UnavailableError
from clarion.runtime.valkey import redis_errors

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=5)
GUARD = timedelta(seconds=10)
_GUARD_VALUE = b"!guard"
_LEASE_PREFIX = b"!lease:"
# A value is a serialized response with one profile, so it begins with this tag byte;
# leases and guards do not.
_VALUE = 0x0A
_ANSWER_SECONDS = 0.5
_REST_SECONDS = 1.0
_RETRY_SECONDS = 0.25
_MOST_PENDING = 100_000
_SWEEP = 1000


def profile_key(tenant: str, user_id: str) -> bytes:
    """The key of a profile; bytes, which the client need not look at one by one."""
    return f"profile:{{{tenant}}}:{user_id}".encode()


class ProfileCache:
    """Serialized profiles by tenant and person. No method raises for a Valkey that is
    down: reads find nothing then, and drops are made up for by ``run``."""

    def __init__(
        self,
        redis: Redis,
        ttl: timedelta,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._redis: Any = redis
        self._ttl = ttl
        self._admission = Admission(ttl, clock)
        self._clock = clock
        self._resting_until = 0.0
        self._pending: set[bytes] = set()
        self._distrusted_until = 0.0
        self._wake = asyncio.Event()
        self._lease_script = self._script("lease.lua")
        self._fill_script = self._script("fill.lua")
        self._guard_script = self._script("guard.lua")

    async def get(self, tenant: str, user_ids: Sequence[str]) -> list[bytes | None]:
        """The value of each that is cached, in order."""
        if not user_ids or not self._usable:
            return [None] * len(user_ids)
        prefix = profile_key(tenant, "")
        keys = [prefix + user_id.encode() for user_id in user_ids]
        try:
            found = await self._ask(self._redis.mget(keys))
        except UnavailableError:
            self._rest()
            return [None] * len(keys)
        values = [v if v is not None and v[0] == _VALUE else None for v in found]
        if self._pending:
            for place, key in enumerate(keys):
                if key in self._pending:
                    values[place] = None
        return values

    def worth_filling(self, tenant: str, user_ids: Collection[str]) -> list[str]:
        """Of people that are not cached those who will probably be asked for again."""
        return self._admission.admitted(tenant, user_ids)

    async def lease(self, tenant: str, user_ids: Collection[str]) -> bytes | None:
        """A lease to fill these by; to be taken before their source is read."""
        if not user_ids or not self._usable:
            return None
        lease = _LEASE_PREFIX + os.urandom(8)
        prefix = profile_key(tenant, "")
        keys = [prefix + user_id.encode() for user_id in user_ids]
        try:
            await self._ask(self._lease_script(keys, [lease, _millis(LEASE)]))
        except UnavailableError:
            self._rest()
            return None
        return lease

    async def fill(
        self, tenant: str, lease: bytes | None, values: Mapping[str, bytes]
    ) -> None:
        """Caches what was read under the lease, where that still holds."""
        if lease is None or not self._usable:
            return
        prefix = profile_key(tenant, "")
        keys = [prefix + user_id.encode() for user_id in values]
        arguments = [lease, _millis(self._ttl), *values.values()]
        try:
            await self._ask(self._fill_script(keys, arguments))
        except UnavailableError:
            self._rest()

    async def guard(self, tenant: str, user_ids: Collection[str]) -> None:
        """Before a commit: nobody caches these people until it is dropped or ends."""
        if not user_ids or not self._usable:
            return
        keys = [profile_key(tenant, user_id) for user_id in user_ids]
        try:
            arguments = [_GUARD_VALUE, _millis(GUARD)]
            await self._ask(self._guard_script(keys, arguments))
        except UnavailableError:
            self._rest()

    async def drop(self, tenant: str, user_ids: Collection[str]) -> None:
        """After a commit: what is cached of these people goes, and every lease."""
        keys = [profile_key(tenant, user_id) for user_id in user_ids]
        if not keys:
            return
        # Before the attempt: from the commit on this process trusts none of them.
        self._remember(keys)
        try:
            await self._ask(self._redis.unlink(*keys))
        except UnavailableError:
            self._rest()
            # Again: another drop of the same people may have worked before this one.
            self._remember(keys)
            self._wake.set()
            logger.warning("profiles not dropped yet", extra={"people": len(keys)})
        else:
            self._pending.difference_update(keys)

    async def run(self) -> None:
        """Makes up for drops that failed, for ever; a supervised task."""
        while True:
            await self._wake.wait()
            keys = list(self._pending)[:1000]
            if not keys:
                self._wake.clear()
                continue
            try:
                await self._ask(self._redis.unlink(*keys))
            except UnavailableError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._pending.difference_update(keys)
                logger.info("profiles dropped late", extra={"people": len(keys)})

    async def sweep(self) -> None:
        """Drops every profile of every tenant. Raises UnavailableError."""
        cursor = 0
        while True:
            cursor, keys = await self._ask(
                self._redis.scan(cursor, match="profile:*", count=_SWEEP)
            )
            if keys:
                await self._ask(self._redis.unlink(*keys))
            if not cursor:
                return

    @property
    def _usable(self) -> bool:
        now = self._clock()
        return now >= self._resting_until and now >= self._distrusted_until

    def _rest(self) -> None:
        # So that a Valkey that hangs does not slow down every call.
        self._resting_until = self._clock() + _REST_SECONDS
        metrics.record_cache_failure()

    def _remember(self, keys: Collection[bytes]) -> None:
        self._pending.update(keys)
        if len(self._pending) > _MOST_PENDING:
            # Nothing that is cached now outlives this span.
            self._distrusted_until = self._clock() + self._ttl.total_seconds()
            self._pending.clear()
            logger.warning("profile cache left aside: too many late drops")

    async def _ask(self, command: Any) -> Any:
        with redis_errors():
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await command

    def _script(self, name: str) -> Any:
        text = (files("clarion.recipients.cache") / name).read_text(encoding="utf-8")
        return self._redis.register_script(text)


def _millis(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
