"""How much of a channel each lane may take, so that none can starve another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from clarion.runtime.streams import LANES, lane_of, overflow_of


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """The share of one lane, or of what overflows it."""

    calls: int = 32
    """Handler calls at once. Many, as one slow delivery holds its call, and every call
    waits until its events are stored (``RESULTS_SPACING``)."""
    messages: int = 32
    """Messages (each a chunk of jobs) that one call takes at most."""
    message_bytes: int = 1024 * 1024
    """Their size together; a larger message is taken alone."""
    jobs: int = 4096
    """Jobs in hand at once; the rest of a call waits for room."""


DEFAULT_LANES: Mapping[str, LaneLimits] = {
    "high": LaneLimits(),
    "medium": LaneLimits(),
    "low": LaneLimits(jobs=1024),
} | {overflow_of(lane): LaneLimits(jobs=512) for lane in LANES}
"""What is in hand is before a high one at the provider, so the others have less."""


def limits_of(lanes: Mapping[str, LaneLimits], flow: str) -> LaneLimits:
    """The limits of a flow: its own, else its lane's, else the usual."""
    return lanes.get(flow) or lanes.get(lane_of(flow)) or LaneLimits()


class JobSlots:
    """Counts jobs in hand; who does not fit waits: parts by turns, each in order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    @property
    def taken(self) -> int:
        """Jobs in hand."""
        return self._taken

    async def take(self, jobs: int, part: str = "") -> None:
        """Returns when there is room for that many."""
        if not self._waiting and self._fits(jobs):
            self._taken += jobs
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(part, deque()).append((jobs, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(jobs)
            raise

    def give_back(self, jobs: int) -> None:
        """Frees what ``take`` got."""
        self._taken -= jobs
        while self._waiting:
            part, line = next(iter(self._waiting.items()))
            wanted, turn = line[0]
            if not turn.done():
                if not self._fits(wanted):
                    return
                self._taken += wanted
                turn.set_result(None)
            line.popleft()
            # Behind the other parts.
            del self._waiting[part]
            if line:
                self._waiting[part] = line

    def _fits(self, jobs: int) -> bool:
        return self._taken == 0 or self._taken + jobs <= self._limit
