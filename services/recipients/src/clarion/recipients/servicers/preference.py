"""PreferenceService."""

from __future__ import annotations

from typing import Any

from clarion.api.recipients.v1.preference_service_pb2 import (
    GetPreferencesRequest,
    UpdatePreferencesRequest,
)
from clarion.api.recipients.v1.preference_service_pb2_grpc import (
    PreferenceServiceServicer,
)
from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients.changes import Changes
from clarion.recipients.preferences import violations, with_defaults
from clarion.recipients.tables import preferences
from clarion.recipients.transactions import Pool, transaction
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import InvalidArgumentError


class PreferenceServicer(PreferenceServiceServicer):
    """What the people of the caller's tenant want."""

    def __init__(self, pool: Pool, changes: Changes, clock: Clock) -> None:
        self._pool = pool
        self._changes = changes
        self._clock = clock

    async def UpdatePreferences(
        self, request: UpdatePreferencesRequest, context: Any
    ) -> Preferences:
        tenant, user_id = current_caller().tenant, request.user_id
        found = violations(request.preferences, user_id)
        if found:
            raise InvalidArgumentError(violations=found)
        now = self._clock.now()
        async with self._changes.of(tenant, user_id) as change:
            return await preferences.change(
                change.connection, tenant, user_id, request.preferences, now
            )

    async def GetPreferences(
        self, request: GetPreferencesRequest, context: Any
    ) -> Preferences:
        tenant = current_caller().tenant
        async with transaction(self._pool) as connection:
            stored = await preferences.get(connection, tenant, request.user_id)
        return with_defaults(stored)
