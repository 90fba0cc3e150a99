"""The instruments of this service."""

from __future__ import annotations

from clarion.runtime.telemetry import meter

_profiles = meter().create_counter(
    "clarion.recipients.profiles",
    unit="{profile}",
    description="Profiles asked for, by where they came from (cache, postgres)",
)
_stored = meter().create_counter(
    "clarion.recipients.stored", unit="{person}", description="People stored"
)
_cache_failures = meter().create_counter(
    "clarion.recipients.cache.failures",
    unit="{failure}",
    description="Times that Valkey did not answer in time",
)
_mirrored = meter().create_counter(
    "clarion.recipients.suppressions.mirrored",
    unit="{suppression}",
    description="Suppressions written to Valkey by a complete refill",
)
_unannounced = meter().create_counter(
    "clarion.recipients.changes.unannounced",
    unit="{person}",
    description="Changes that routers were not told about",
)

_FROM_CACHE = {"source": "cache"}
_FROM_POSTGRES = {"source": "postgres"}


def record_profiles(cached: int, read: int) -> None:
    """Profiles were answered."""
    if cached:
        _profiles.add(cached, _FROM_CACHE)
    if read:
        _profiles.add(read, _FROM_POSTGRES)


def record_stored(people: int) -> None:
    """People were created or replaced."""
    _stored.add(people)


def record_cache_failure() -> None:
    """Valkey did not answer."""
    _cache_failures.add(1)


def record_mirrored(count: int) -> None:
    """The mirror of the suppressions was filled."""
    _mirrored.add(count)


def record_unannounced(people: int) -> None:
    """A change was not published."""
    _unannounced.add(people)
