"""Time zones by their IANA names."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

REMEDY = "is not an IANA time zone: give one such as Europe/Berlin or UTC"

# Names that a machine's zoneinfo folder has and that mean something else elsewhere.
_LOCAL = frozenset({"localtime", "posixrules", "Factory"})


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones() - _LOCAL)


def is_time_zone(name: str) -> bool:
    """Whether there is such a zone; names are case-sensitive."""
    return name in _names()


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """The zone; UTC for an empty name and for one that this host does not know."""
    # Only a known name may become a path.
    return ZoneInfo(name) if is_time_zone(name) else UTC
