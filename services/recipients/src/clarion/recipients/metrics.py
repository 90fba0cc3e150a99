"""The instruments of this service."""

from __future__ import annotations

from clarion.runtime.metrics import Attribute, Name, counter

_profiles = counter(Name.PROFILES)
_stored = counter(Name.PEOPLE_STORED)
_cache_failures = counter(Name.CACHE_FAILURES)
_mirrored = counter(Name.SUPPRESSIONS_MIRRORED)
_unannounced = counter(Name.CHANGES_UNANNOUNCED)

_FROM_CACHE: dict[str, str] = {Attribute.SOURCE: "cache"}
_FROM_POSTGRES: dict[str, str] = {Attribute.SOURCE: "postgres"}


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
