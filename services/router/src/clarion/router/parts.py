"""Which part of an overflow a tenant's flood goes by: one that nobody else is in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

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
        self._seen: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def saw(self, part: str, tenants: Iterable[str]) -> None:
        """Something of these tenants is in the part."""
        now = self._clock.monotonic()
        lately = self._lately(part, now)
        self._seen[part] = lately | dict.fromkeys(tenants, now)

    def of(self, flow: str, tenant: str) -> str:
        """The part for what the tenant sends: where it is already, else a free one."""
        now = self._clock.monotonic()
        parts = parts_of(INTAKE, flow)
        usual = part_of(flow, tenant)
        start = parts.index(usual)
        others = {
            part: self._lately(part, now) for part in (*parts[start:], *parts[:start])
        }
        own = [part for part, seen in others.items() if [*seen] == [tenant]]
        free = [part for part, seen in others.items() if not seen]
        part = next(iter((*own, *free)), usual)
        self.saw(part, [tenant])
        return part

    def _lately(self, part: str, now: float) -> dict[str, float]:
        seen = self._seen[part]
        return {tenant: at for tenant, at in seen.items() if at >= now - LATELY}
