"""The use case of what a tenant wants for everybody who does not say it."""

from __future__ import annotations

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients.announcing import Announcer
from clarion.recipients.cache.live_defaults import LiveDefaults
from clarion.recipients.tables import defaults
from clarion.recipients.transactions import Pool, transaction
from clarion.runtime.clock import Clock


class Defaults:
    """Every method raises UnavailableError while Postgres does not answer."""

    def __init__(
        self, pool: Pool, live: LiveDefaults, announcer: Announcer, clock: Clock
    ) -> None:
        self._pool = pool
        self._live = live
        self._announcer = announcer
        self._clock = clock

    async def put(self, tenant: str, wanted: Preferences) -> Preferences:
        """Replaces them and tells every replica; as stored."""
        now = self._clock.now()
        async with transaction(self._pool) as connection:
            stored = await defaults.put(connection, tenant, wanted, now)
        await self._announcer.defaults_changed(tenant)
        await self._live.look()
        return stored

    async def get(self, tenant: str) -> Preferences:
        """As stored; version 0 when there are none."""
        async with transaction(self._pool) as connection:
            return await defaults.get(connection, tenant)
