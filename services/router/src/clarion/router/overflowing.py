"""What goes beyond a tenant's share of a lane goes by a part of the lane's overflow.

So the lane itself is never long, and who stays within their share never waits behind
those who do not; of those, each part has its turn. Each router counts for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from clarion.router.parts import Parts
from clarion.router.waits import Waits
from clarion.runtime.clock import Clock
from clarion.runtime.jetstream import Scheduler
from clarion.runtime.pacing import TenantShares
from clarion.runtime.streams import (
    INTAKE,
    LANES,
    due_subject,
    overflow_of,
    part_of,
    tenant_of,
)

T = TypeVar("T")

_LANES_BY_TARGET = {due_subject(INTAKE, lane): lane for lane in LANES}


CALM = timedelta(milliseconds=150)
"""While a lane and its overflow wait for less, nobody stands in anybody's way."""


class Overflow:
    """Takes out of each lane what goes beyond the sender's share of it.

    Only while the lane or its overflow is behind: a tenant who sends more than a share,
    and no more than is worked off, is in nobody's way.
    """

    def __init__(
        self,
        shares: TenantShares,
        clock: Clock,
        waits: Waits,
        calm: timedelta = CALM,
        parts: Parts | None = None,
    ) -> None:
        self._parts = parts or Parts(clock)
        self._shares = shares
        self._clock = clock
        self._waits = waits
        self._calm = calm

    def split(
        self, tenant: str, by_lane: Mapping[str, Sequence[T]]
    ) -> dict[str, Sequence[T]]:
        """One tenant's items by part; those that come first stay in the lane."""
        now = self._clock.monotonic()
        by_part: dict[str, Sequence[T]] = {}
        for lane, items in by_lane.items():
            within = self._shares.take((tenant, lane), len(items), now)
            if self._is_calm(lane):
                within = len(items)
            if within:
                by_part[lane] = items[:within]
            if within < len(items):
                by_part[self._parts.of(overflow_of(lane), tenant)] = items[within:]
        return by_part

    def _is_calm(self, lane: str) -> bool:
        longest = self._waits.longest
        return max(longest(lane), longest(overflow_of(lane))) < self._calm


class OverflowScheduler:
    """A Scheduler: of what a tenant plans for one second the rest will overflow.

    What fires is not accepted any more, so it is shared out when it is planned.
    """

    def __init__(self, scheduler: Scheduler, most: int, clock: Clock) -> None:
        """``most`` is how many of a tenant stay in a lane in the same second."""
        self._scheduler = scheduler
        self._shares = TenantShares(0, most)
        self._clock = clock

    async def schedule(
        self,
        subject: str,
        *,
        target: str,
        due: datetime,
        body: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """See the Scheduler port."""
        lane = _LANES_BY_TARGET.get(target)
        if lane is not None:
            tenant = tenant_of(subject)
            second = int(due.timestamp())
            key = (tenant, f"{lane} {second}")
            if not self._shares.take(key, 1, self._clock.monotonic()):
                target = due_subject(INTAKE, part_of(overflow_of(lane), tenant))
        await self._scheduler.schedule(
            subject,
            target=target,
            due=due,
            body=body,
            message_id=message_id,
            headers=headers,
        )

    async def cancel(self, subject: str) -> int:
        """See the Scheduler port."""
        return await self._scheduler.cancel(subject)
