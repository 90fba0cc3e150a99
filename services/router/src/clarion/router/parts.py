"""Which part of an overflow a tenant's flood goes by: one that nobody else is in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from clarion.runtime.clock import Clock
from clarion.runtime.streams import INTAKE, part_of, parts_of

LATELY = 10.0
"""Seconds for which whoever was seen in a part is taken to be there."""


class Parts:
    """Knows who is in which part, as this router sees it.

    What all routers put into a part comes by the workers of each, so they agree soon on
    who is where, and after a restart as well. Where they do not, or where more tenants
    flood than there are parts, some share one, first come, first served.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_hand: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._seen: defaultdict[str, dict[str, float]] = defaultdict(dict)

    @contextmanager
    def in_hand(self, part: str, tenants: Collection[str]) -> Iterator[None]:
        """Around the handling of a batch of these tenants, which may take long."""
        own = self._in_hand[part]
        own.update(tenants)
        try:
            yield
        finally:
            # Without those of whom there is nothing any more.
            own -= Counter(tenants)
            self._saw(part, tenants)

    def of(self, flow: str, tenant: str) -> str:
        """The part for what the tenant sends: where it is already, else a free one."""
        now = self._clock.monotonic()
        parts = parts_of(INTAKE, flow)
        usual = part_of(flow, tenant)
        start = parts.index(usual)
        who = {part: self._who(part, now) for part in (*parts[start:], *parts[:start])}
        own = [part for part, tenants in who.items() if tenants == {tenant}]
        free = [part for part, tenants in who.items() if not tenants]
        part = next(iter((*own, *free)), usual)
        self._saw(part, [tenant])
        return part

    def _who(self, part: str, now: float) -> set[str]:
        return {*self._in_hand[part], *self._lately(part, now)}

    def _saw(self, part: str, tenants: Collection[str]) -> None:
        now = self._clock.monotonic()
        self._seen[part] = self._lately(part, now) | dict.fromkeys(tenants, now)

    def _lately(self, part: str, now: float) -> dict[str, float]:
        seen = self._seen[part]
        return {tenant: at for tenant, at in seen.items() if at >= now - LATELY}
