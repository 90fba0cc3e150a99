"""People and their devices: the writes, and whose profiles they touch."""

from __future__ import annotations

from collections.abc import Sequence

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.recipients import metrics
from clarion.recipients.changes import Changes
from clarion.recipients.tables import people
from clarion.runtime.clock import Clock


class People:
    """Every method raises UnavailableError while Postgres does not answer."""

    def __init__(self, changes: Changes, clock: Clock) -> None:
        self._changes = changes
        self._clock = clock

    async def put(self, tenant: str, persons: Sequence[Recipient]) -> None:
        """Creates or replaces people; each must be there once."""
        ids = [person.user_id for person in persons]
        async with self._changes.of(tenant, *ids) as change:
            now = self._clock.now()
            await change.touches(
                await people.put(change.connection, tenant, persons, now)
            )
        metrics.record_stored(len(persons))

    async def delete(self, tenant: str, user_id: str) -> bool:
        """Forgets a person with devices, preferences and subscriptions."""
        async with self._changes.of(tenant, user_id) as change:
            return await people.delete(change.connection, tenant, user_id)

    async def register(self, tenant: str, user_id: str, device: Device) -> bool:
        """Adds a device, completing it in place; False when nobody is called so."""
        async with self._changes.of(tenant, user_id) as change:
            now = self._clock.now()
            before = await people.register(
                change.connection, tenant, user_id, device, now
            )
            if before is None:
                return False
            await change.touches(before)
            return True

    async def remove_device(self, tenant: str, user_id: str, device_id: str) -> bool:
        """Removes a device; whether there was one."""
        async with self._changes.of(tenant, user_id) as change:
            return await people.remove_device(
                change.connection, tenant, user_id, device_id
            )

    async def remove_tokens(self, tenant: str, tokens: Sequence[str]) -> int:
        """Removes devices by token; how many there were."""
        async with self._changes.of(tenant) as change:
            owners = await people.remove_tokens(change.connection, tenant, tokens)
            await change.touches(owners)
        return len(owners)
