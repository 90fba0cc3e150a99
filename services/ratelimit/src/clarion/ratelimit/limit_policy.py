"""A limit by category, type and channel, and what it does on failure. Pure."""

from __future__ import annotations

from typing import NamedTuple

from clarion.ratelimit.counters import WHOLE
from clarion.ratelimit.window import Window

OPEN = "open"
CLOSED = "closed"

MAX_POLICIES = 100
"""Policies of one tenant: every permit is compared with all of them."""

_CLOSED_BY_ITSELF = frozenset({"promotional"})
"""Categories that nobody misses when nothing can be counted."""


class LimitPolicy(NamedTuple):
    """What one person gets of a scope: of everything, or narrowed down."""

    policy_id: str
    category: str = ""
    """Empty: any."""
    type: str = ""
    """Empty: any."""
    channel: str = WHOLE
    """Empty: any, and it holds for the whole of a notification."""
    windows: tuple[Window, ...] = ()
    on_failure: str = ""
    """open or closed while nothing can be counted; empty: says nothing."""

    def is_about(self, category: str, type_: str) -> bool:
        """Whether it holds for a type of a category, on its channel."""
        return self.category in ("", category) and self.type in ("", type_)


def scope(category: str, type_: str = "", channel: str = WHOLE) -> str:
    """The name of the counter of a scope; policies of one scope share it.

    That of a category alone is its name, as it was before there were others.
    """
    if category and not (type_ or channel):
        return category
    return f"~{category}|{type_}|{channel}"


def is_closed(said: set[str], category: str) -> bool:
    """Whether what cannot be counted waits, by what the policies say about it."""
    if CLOSED in said:
        return True
    return OPEN not in said and category in _CLOSED_BY_ITSELF
