"""Which flows had traffic lately, and for whom another one should make way. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable

from clarion.runtime.streams import FLOWS, LANES, lane_of

LATELY = 1.0
"""Seconds."""

_RANK = {flow: LANES.index(lane_of(flow)) for flow in FLOWS}
_IS_OVERFLOW = {flow: flow not in LANES for flow in FLOWS}


_Seen = tuple[float, float]
"""When, and how long it had waited then."""
_NEVER: _Seen = (float("-inf"), 0.0)


class Activity:
    """The traffic of the last second or two, by flow and tenant."""

    def __init__(self) -> None:
        self._last = dict.fromkeys(FLOWS, _NEVER)
        # The two tenants that were last seen within their share, in any lane: enough
        # to tell whether there was another one.
        self._latest = self._other = ("", _NEVER)
        self._since = float("-inf")
        self._items = dict.fromkeys(FLOWS, 0)
        self._rates = dict.fromkeys(FLOWS, 0.0)

    def saw(
        self, flow: str, tenants: Iterable[str], now: float, waited: float = 0.0
    ) -> None:
        """Something of these tenants waits or is dealt with, for so many seconds."""
        seen = self._last[flow] = (now, waited)
        if _IS_OVERFLOW[flow]:
            return
        for tenant in tenants:
            if tenant != self._latest[0]:
                self._other = self._latest
            self._latest = (tenant, seen)

    def count(self, flow: str, items: int, now: float) -> None:
        """So many items are dealt with."""
        took = now - self._since
        if took >= LATELY:
            self._rates = {of: seen / took for of, seen in self._items.items()}
            self._items = dict.fromkeys(FLOWS, 0)
            self._since = now
        self._items[flow] += items

    def wait_before(
        self, flow: str, tenants: Container[str], now: float
    ) -> float | None:
        """How long that waits which goes before this flow of these tenants.

        None where nothing does; the shortest where much does. What goes before is the
        traffic of a higher lane; and for an overflow, what another tenant sends within
        its share, in whichever lane.
        """
        since = now - LATELY
        seen = self._before(flow, tenants)
        return min((waited for at, waited in seen if at >= since), default=None)

    def last_before(self, flow: str, tenants: Container[str]) -> float:
        """When that was seen last which goes before this flow of these tenants."""
        return max((at for at, _ in self._before(flow, tenants)), default=_NEVER[0])

    def rate_before(self, flow: str) -> float:
        """Items a second of the higher lanes."""
        rank = _RANK[flow]
        return sum(rate for of, rate in self._rates.items() if _RANK[of] < rank)

    def _before(self, flow: str, tenants: Container[str]) -> list[_Seen]:
        seen = [self._last[higher] for higher in self._higher(flow)]
        if _IS_OVERFLOW[flow]:
            others = (self._latest, self._other)
            seen += (at for tenant, at in others if tenant not in tenants)
        return seen

    def _higher(self, flow: str) -> Iterable[str]:
        rank = _RANK[flow]
        overflows = FLOWS[len(LANES) :][:rank] if _IS_OVERFLOW[flow] else ()
        return (*LANES[:rank], *overflows)
