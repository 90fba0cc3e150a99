"""Gives lower flows a share of the process's time while higher ones have traffic.

Nothing in a process can be interrupted, and a machine that is busy to the last core
lets everybody wait. So an overflow that has to make way goes on in bounded steps, with
pauses in between, so that it takes a certain share of this process's time: no more
while it makes way, and no less. Alone it has all of the time and large steps. A lane
itself is short, as what would make it long goes by its overflow: it does not pause, and
its steps are bounded. How small they are depends on how long those wait for whom way is
made (steps.py). Tenants that wait in the same overflow have as much of it (turns.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from clarion.runtime.clock import Clock, SystemClock
from clarion.runtime.pacing.activity import Activity
from clarion.runtime.pacing.budgets import SHARES, Budgets
from clarion.runtime.pacing.cost import Cost
from clarion.runtime.pacing.steps import most_items
from clarion.runtime.pacing.strain import Strain
from clarion.runtime.pacing.turns import Turns
from clarion.runtime.streams import LANES, flow_of

_LONGEST_PAUSE = 1.0
"""Seconds after a step that is larger than the usual one: those for whom it was taken
may be gone by then."""

_UNDER_WAY = 0.012
"""Seconds that what is fast spends in a process: a step that begins meanwhile is in its
way at once, one that begins later only in that of what comes next."""
_GAPS = 3
"""How often a step waits for that; where much is fast there is never such a moment."""

_flow: ContextVar[str] = ContextVar("flow", default=LANES[0])
_since: ContextVar[datetime | None] = ContextVar("since", default=None)


def current_flow() -> str:
    """The flow, or part of one, that what runs here came by; else the highest."""
    return _flow.get()


def waiting_since() -> datetime | None:
    """When what runs here began to wait; None where nobody said."""
    return _since.get()


@contextmanager
def in_flow(flow: str, since: datetime | None = None) -> Iterator[None]:
    """Says by which flow it came, and when it began to wait for its turn."""
    before = _flow.set(flow), _since.set(since)
    try:
        yield
    finally:
        _flow.reset(before[0])
        _since.reset(before[1])


class Governor:
    """One for a process; everything that costs time asks it before each step."""

    def __init__(
        self,
        step: int,
        *,
        shares: Mapping[str, float] = SHARES,
        clock: Clock | None = None,
        cpu: Callable[[], float] = time.process_time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``step`` is how many items a flow gets at a time that makes way for what is
        fast."""
        self._step = step
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self._cpu = cpu
        self._sleep = sleep
        self._activity = Activity()
        self._cost = Cost()
        self._budgets = Budgets(shares)
        self._strain = Strain()
        self._turns = {flow: Turns() for flow in shares}

    async def admit(
        self,
        flow: str,
        tenants: Collection[str],
        items: int,
        since: datetime | None = None,
    ) -> int:
        """How many of the items may be dealt with now; waits while others go first.

        At least 1. Ask again for the rest. ``since`` is when the items began to wait;
        where it is not known they are taken for fast. Of a part its flow counts.
        """
        flow = flow_of(flow)
        now = self._now()
        waited = (self._clock.now() - since).total_seconds() if since else 0.0
        activity = self._activity
        activity.saw(flow, tenants, now, waited)
        before = activity.wait_before(flow, tenants, now)
        if before is not None:
            rate = activity.rate_before(flow)
            most = most_items(self._step, before, rate, self._cost.item)
            items = min(items, most)
            if flow not in LANES:
                turns = self._turns[flow]
                async with turns.turn(tenants):
                    now = self._now()
                    # Whoever was made way for may be gone since.
                    if activity.wait_before(flow, tenants, now) is not None:
                        items, now = await self._pause(flow, tenants, items)
                    turns.had(tenants, items)
                activity.saw(flow, tenants, now, waited)
        activity.count(flow, items, now)
        self._cost.count(items, now, self._cpu())
        return items

    def beside(self, items: float) -> None:
        """This process did something else that costs it as much as so many items."""
        self._cost.beside(items)

    async def _pause(
        self, flow: str, tenants: Collection[str], items: int
    ) -> tuple[int, float]:
        """Waits for the flow's next step and takes it; its items and the time then."""
        before = now = self._now()
        wait = self._budgets.wait(flow, before)
        if wait:
            await self._sleep(wait)
            now = self._now()
            self._strain.late(now - before - wait)
        now = await self._gap(flow, tenants, now)
        per_second = self._strain.factor * self._budgets.share(flow) / self._cost.item
        # Where there is much of the higher ones, they wait for each other: this one
        # may do twice what they do together, so that it never holds back a mixed load.
        per_second += 2 * self._activity.rate_before(flow)
        items = min(items, max(self._step, int(per_second * _LONGEST_PAUSE)))
        self._budgets.spend(flow, items / per_second, now)
        return items, now

    async def _gap(self, flow: str, tenants: Collection[str], now: float) -> float:
        """Waits for a moment at which nothing that goes before is under way here."""
        for _ in range(_GAPS):
            left = self._activity.last_before(flow, tenants) + _UNDER_WAY - now
            if left <= 0:
                break
            await self._sleep(left)
            now = self._now()
        return now
