"""IANA time zone names."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

REMEDY = "is not an IANA time zone: give one such as Europe/Berlin or UTC"

# Names that a machine's zoneinfo folder has and that mean something else elsewhere.
_LOCAL = frozenset({"localtime", "posixrules", "Factory"})


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones() - _LOCAL)


def is_time_zone(name: str) -> bool:
    """Whether there is such a zone; names are case-sensitive."""
    return name in _names()
