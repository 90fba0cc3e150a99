"""PreferenceService."""

from __future__ import annotations

from typing import Any

from clarion.api.recipients.v1.preference_service_pb2 import (
    GetDefaultPreferencesRequest,
    GetPreferencesRequest,
    PutDefaultPreferencesRequest,
    UpdatePreferencesRequest,
)
from clarion.api.recipients.v1.preference_service_pb2_grpc import (
    PreferenceServiceServicer,
)
from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients.cache.live_defaults import LiveDefaults
from clarion.recipients.changes import Changes
from clarion.recipients.critical_types import CriticalTypes, shown
from clarion.recipients.defaults import Defaults
from clarion.recipients.preferences import effective, violations, with_built_in
from clarion.recipients.tables import preferences
from clarion.recipients.transactions import Pool, transaction
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import InvalidArgumentError


class PreferenceServicer(PreferenceServiceServicer):
    """What the people of the caller's tenant want."""

    def __init__(
        self,
        pool: Pool,
        changes: Changes,
        live: LiveDefaults,
        defaults: Defaults,
        critical: CriticalTypes,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._changes = changes
        self._live = live
        self._defaults = defaults
        self._critical = critical
        self._clock = clock

    async def UpdatePreferences(
        self, request: UpdatePreferencesRequest, context: Any
    ) -> Preferences:
        tenant, user_id = current_caller().tenant, request.user_id
        found = violations(request.preferences, user_id)
        if found:
            raise InvalidArgumentError(violations=found)
        now, defaults = self._clock.now(), self._live.of(tenant)
        async with self._changes.of(tenant, user_id) as change:
            stored = await preferences.change(
                change.connection, tenant, user_id, request.preferences, defaults, now
            )
        return await self._shown(tenant, stored)

    async def GetPreferences(
        self, request: GetPreferencesRequest, context: Any
    ) -> Preferences:
        tenant = current_caller().tenant
        async with transaction(self._pool) as connection:
            stored = await preferences.get(connection, tenant, request.user_id)
        return await self._shown(tenant, stored)

    async def PutDefaultPreferences(
        self, request: PutDefaultPreferencesRequest, context: Any
    ) -> Preferences:
        found = violations(request.preferences, "")
        if found:
            raise InvalidArgumentError(violations=found)
        tenant = current_caller().tenant
        stored = await self._defaults.put(tenant, request.preferences)
        return shown(stored, await self._critical.of(tenant))

    async def GetDefaultPreferences(
        self, request: GetDefaultPreferencesRequest, context: Any
    ) -> Preferences:
        tenant = current_caller().tenant
        stored = await self._defaults.get(tenant)
        return shown(stored, await self._critical.of(tenant))

    async def _shown(self, tenant: str, own: Preferences) -> Preferences:
        """What is in effect for a person, as the API shows it."""
        defaults = self._live.of(tenant)
        full = with_built_in(own if defaults is None else effective(own, defaults))
        return shown(full, await self._critical.of(tenant))
