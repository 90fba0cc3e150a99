"""What goes together by the highest of its lanes while nobody waits.

A lane more is a message more on every hop, each with a call, a claim and an fsync.
While the mesh is calm a lower lane has nobody to make way for, so what is small rides
along. Every notification keeps its own priority: retries and whatever waits go by its
own lane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from clarion.router.waits import Waits
from clarion.runtime.streams import FLOWS, LANES, same_part

T = TypeVar("T")

MOST = 128
"""Of more at once, the lower lanes do not ride: about 3 ms of each process."""

CALM = timedelta(milliseconds=500)
"""While everything waits for less, together is quicker for everybody than one by one:
so a mesh that fell behind for a moment catches up. A backlog waits for longer."""

_RANKS = {lane: rank for rank, lane in enumerate(LANES)}


class Riding:
    """Says what rides. Pure but for the waits that it looks at."""

    def __init__(self, waits: Waits, calm: timedelta = CALM, most: int = MOST) -> None:
        """``calm`` is what no flow waits for while others ride; zero: nothing does."""
        self._waits = waits
        self._calm = calm
        self._most = most

    def together(self, by_flow: Mapping[str, Sequence[T]]) -> Mapping[str, Sequence[T]]:
        """The items of one request by the flow of their message.

        Higher lanes come first in it. Where anything overflows nothing rides.
        """
        if len(by_flow) < 2 or any(flow not in _RANKS for flow in by_flow):
            return by_flow
        if not self._may_ride(sum(map(len, by_flow.values()))):
            return by_flow
        lanes = [lane for lane in LANES if lane in by_flow]
        return {lanes[0]: [item for lane in lanes for item in by_flow[lane]]}

    def onwards(self, flow: str, lanes: Sequence[str]) -> Sequence[str]:
        """The flows by which deliveries go on, by the lanes of their own.

        ``flow`` is the one that their notifications came by, or a part of it.
        """
        if flow not in _RANKS:
            return [same_part(lane, flow) for lane in lanes]
        rank = _RANKS[flow]
        if all(_RANKS[lane] <= rank for lane in lanes):
            return lanes
        if not self._may_ride(len(lanes)):
            return lanes
        return [lane if _RANKS[lane] < rank else flow for lane in lanes]

    def _may_ride(self, items: int) -> bool:
        longest = self._waits.longest
        return items <= self._most and all(longest(f) < self._calm for f in FLOWS)
