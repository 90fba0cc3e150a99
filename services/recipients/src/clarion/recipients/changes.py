"""The order around every write that changes what somebody's profile says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from clarion.recipients.announcing import Announcer
from clarion.recipients.cache.profile_cache import ProfileCache
from clarion.recipients.transactions import Connection, Pool, transaction


class Change:
    """One change under way: its transaction, and whose profiles it touches."""

    def __init__(
        self, cache: ProfileCache, connection: Connection, tenant: str
    ) -> None:
        self.connection = connection
        self._cache = cache
        self._tenant = tenant
        self.user_ids: set[str] = set()

    async def touches(self, user_ids: Collection[str]) -> None:
        """To be said before the commit."""
        more = set(user_ids) - self.user_ids
        if more:
            self.user_ids.update(more)
            await self._cache.guard(self._tenant, more)


class Changes:
    """Opens transactions; guards before their commit, drops and announces after it."""

    def __init__(self, pool: Pool, cache: ProfileCache, announcer: Announcer) -> None:
        self._pool = pool
        self._cache = cache
        self._announcer = announcer

    @asynccontextmanager
    async def of(self, tenant: str, *user_ids: str) -> AsyncIterator[Change]:
        """A transaction that touches these people; committed at the end of the block.

        Raises UnavailableError while Postgres does not answer.
        """
        touched: set[str] = set()
        try:
            async with transaction(self._pool) as connection:
                change = Change(self._cache, connection, tenant)
                touched = change.user_ids
                await change.touches(user_ids)
                yield change
        finally:
            # Also after a failure: it may have come after the commit.
            if touched:
                await self._cache.drop(tenant, touched)
                await self._announcer.changed(tenant, touched)
