"""Serialized profiles: from the cache, and from Postgres what it lacks."""

from __future__ import annotations

from collections.abc import Sequence

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsResponse,
    RecipientProfile,
)
from clarion.recipients import metrics
from clarion.recipients.cache.live_defaults import LiveDefaults
from clarion.recipients.cache.profile_cache import ProfileCache
from clarion.recipients.preferences import effective
from clarion.recipients.tables import profiles
from clarion.recipients.transactions import Pool


class Profiles:
    """All that deciding needs of people."""

    def __init__(self, pool: Pool, cache: ProfileCache, defaults: LiveDefaults) -> None:
        self._pool = pool
        self._cache = cache
        self._defaults = defaults

    async def get(self, tenant: str, user_ids: Sequence[str]) -> bytes:
        """A serialized BatchGetRecipientsResponse, in the order asked for.

        Each cached value is a response with one profile, and protobuf messages joined
        end to end are the merged message: so nothing is parsed here, unless the tenant
        has default preferences: what is cached is the people's own, so that a change of
        the defaults holds at once. Raises UnavailableError when somebody is not cached
        and Postgres does not answer.
        """
        defaults = self._defaults.of(tenant)
        values = await self._cache.get(tenant, user_ids)
        missing = {
            user_id: b""
            for user_id, value in zip(user_ids, values, strict=True)
            if value is None
        }
        if missing:
            read = await self._read(tenant, list(missing))
            values = [
                read[user_id] if value is None else value
                for user_id, value in zip(user_ids, values, strict=True)
            ]
        metrics.record_profiles(len(user_ids) - len(missing), len(missing))
        if defaults is not None:
            return b"".join(_with_defaults(value or b"", defaults) for value in values)
        return b"".join(values)  # type: ignore[arg-type]  # none is missing any more

    async def get_one(self, tenant: str, user_id: str) -> RecipientProfile:
        """The profile of one person."""
        response = await self.get(tenant, [user_id])
        return BatchGetRecipientsResponse.FromString(response).profiles[0]

    async def _read(self, tenant: str, user_ids: list[str]) -> dict[str, bytes]:
        wanted = self._cache.worth_filling(tenant, user_ids)
        lease = await self._cache.lease(tenant, wanted)
        values = await profiles.read(self._pool, tenant, user_ids)
        if lease is not None:
            filled = {user_id: values[user_id] for user_id in wanted}
            await self._cache.fill(tenant, lease, filled)
        return values


def _with_defaults(value: bytes, defaults: Preferences) -> bytes:
    """A response with one profile whose preferences are the effective ones."""
    response = BatchGetRecipientsResponse.FromString(value)
    profile = response.profiles[0]
    if not profile.found:
        return value
    profile.preferences.CopyFrom(effective(profile.preferences, defaults))
    return response.SerializeToString()
