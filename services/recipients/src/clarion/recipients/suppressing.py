"""Suppressions: the writes, in step with Valkey and the cached profiles."""

from __future__ import annotations

from collections.abc import Sequence

from clarion.api.recipients.v1.recipient_pb2 import Suppression
from clarion.recipients.cache.suppression_mirror import SuppressionMirror
from clarion.recipients.changes import Changes
from clarion.recipients.tables import suppressions
from clarion.runtime.clock import Clock


class Suppressions:
    """Every method raises UnavailableError while Postgres does not answer."""

    def __init__(
        self, mirror: SuppressionMirror, changes: Changes, clock: Clock
    ) -> None:
        self._mirror = mirror
        self._changes = changes
        self._clock = clock

    async def add(self, tenant: str, entries: Sequence[Suppression]) -> int:
        """Adds suppressions; how many were new. Works without Valkey."""
        addresses = [(entry.channel, entry.address) for entry in entries]
        async with self._changes.of(tenant) as change:
            await suppressions.lock(change.connection, tenant)
            now = self._clock.now()
            added = await suppressions.add(change.connection, tenant, entries, now)
            reached = await suppressions.reached_by(
                change.connection, tenant, addresses
            )
            await change.touches(reached.user_ids)
            # Before the commit: a crash between the two leaves too much suppressed.
            await self._mirror.set(tenant, added.reasons, reached.emails)
        return added.new

    async def remove(self, tenant: str, channel: str, address: str) -> bool:
        """Lifts a suppression; whether there was one.

        Raises UnavailableError also while Valkey does not answer: nothing is lifted
        then, as the channels would go on refusing the address.
        """
        addresses = [(channel, address)]
        try:
            async with self._changes.of(tenant) as change:
                await suppressions.lock(change.connection, tenant)
                removed = await suppressions.remove(
                    change.connection, tenant, channel, address
                )
                reached = await suppressions.reached_by(
                    change.connection, tenant, addresses
                )
                await change.touches(reached.user_ids)
                await self._mirror.remove(tenant, channel, address, reached.emails)
        except BaseException:
            # The keys may be gone and the row not.
            self._mirror.doubt()
            raise
        return removed
