"""The windows that types were registered with, as permits bring them along.

The router has the registry; here they are known of the types that were sent lately, so
that what a person has used of them can be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from clarion.ratelimit.counters import WHOLE, Counter
from clarion.ratelimit.limit_policy import scope
from clarion.ratelimit.window import HOUR, Window

Windows = tuple[Window, ...]

_MAX_REMEMBERED = 100_000


class TypeWindows(Protocol):
    """The windows of types by tenant. Every method raises UnavailableError."""

    async def put(self, tenant: str, windows: Mapping[str, Windows], now: int) -> None:
        """Keeps the windows of types that are being sent."""
        ...

    async def get(self, tenant: str, now: int) -> Mapping[str, Windows]:
        """By type, of those of which anything may still be counted."""
        ...


class Seen:
    """What was kept lately, so that hardly any permit costs more for it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Windows, int]] = {}

    def new(
        self, tenant: str, windows: Mapping[str, Windows], now: int
    ) -> dict[str, Windows]:
        """Those that were not kept like this within the last hour."""
        return {
            type_: own
            for type_, own in windows.items()
            if not self._is_kept(tenant, type_, own, now)
        }

    def kept(self, tenant: str, windows: Mapping[str, Windows], now: int) -> None:
        """They are stored."""
        if len(self._kept) > _MAX_REMEMBERED:
            self._kept.clear()
        for type_, own in windows.items():
            self._kept[tenant, type_] = (own, now)

    def _is_kept(self, tenant: str, type_: str, windows: Windows, now: int) -> bool:
        known = self._kept.get((tenant, type_))
        return known is not None and known[0] == windows and now - known[1] < HOUR


def counters_of(types: Mapping[str, Windows]) -> list[Counter]:
    """Where the permits of types are counted, ordered by type."""
    return [
        Counter(scope("", type_), WHOLE, windows)
        for type_, windows in sorted(types.items())
    ]


def is_over(windows: Windows, sent: int, now: int) -> bool:
    """Whether nothing counts any more of a type that was sent last at ``sent``.

    It may be kept an hour less often than it is sent.
    """
    longest = max((window.span for window in windows), default=0)
    return sent + longest + HOUR <= now


class InMemoryTypeWindows:
    """Implements TypeWindows in a dictionary."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, tuple[Windows, int]]] = {}

    async def put(self, tenant: str, windows: Mapping[str, Windows], now: int) -> None:
        own = self._kept.setdefault(tenant, {})
        own.update({type_: (found, now) for type_, found in windows.items()})

    async def get(self, tenant: str, now: int) -> Mapping[str, Windows]:
        return {
            type_: windows
            for type_, (windows, sent) in self._kept.get(tenant, {}).items()
            if not is_over(windows, sent, now)
        }
