"""The use case of what fires: the occurrence after it is planned, and it goes on.

It is acknowledged when both are done, so nothing is lost: what is interrupted is done
again, plans the same once more and has the same ids. The table is asked whether the
schedule still stands, and is not waited for: an occurrence carries all that planning
the next one takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.schedules.keeping import LATE
from clarion.router.schedules.planning import Planner
from clarion.router.schedules.recurring import Recurring, carried_by
from clarion.router.schedules.table import Identity, ScheduleTable
from clarion.router.schedules.together import Together
from clarion.runtime.breaker import Breaker
from clarion.runtime.clock import Clock
from clarion.runtime.errors import UnavailableError

_log = logging.getLogger(__name__)

MADE_UP = timedelta(minutes=5)
"""After a time in which nothing was fired, what fell due in the last five minutes of it
is made up for; of what lies further back only the occurrence that waited."""


PAUSE = timedelta(seconds=1)
"""After it what comes next is planned: not in between of what fires."""


class Routes(Protocol):
    """Takes batches of items further."""

    async def route(self, items: Sequence[IntakeItem]) -> None:
        """Raises TransientError while something that it needs does not answer."""
        ...


class Firing:
    """Plans what comes after the occurrences of a batch and passes the batch on."""

    def __init__(
        self,
        routes: Routes,
        table: ScheduleTable,
        planner: Planner,
        breaker: Breaker,
        clock: Clock,
        pause: timedelta = PAUSE,
    ) -> None:
        self._routes = routes
        self._table = table
        self._plan = Together(planner.plan, pause.total_seconds())
        self._breaker = breaker
        self._clock = clock

    async def route(self, items: Sequence[IntakeItem]) -> None:
        """Returns when the batch is planned for and routed. Raises TransientError."""
        # One that is released later, after quiet hours, has been here before.
        fired = [
            item for item in items if item.HasField("recurrence") and not item.release
        ]
        if not fired:
            await self._routes.route(items)
            return
        dropped, plans = await self._judge(fired)
        kept = [
            item
            for item in items
            if item.release or item.notification_id not in dropped
        ]
        # Both are waited for, whatever becomes of the other.
        for outcome in await asyncio.gather(
            self._plan(plans), self._route(kept), return_exceptions=True
        ):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _route(self, kept: Sequence[IntakeItem]) -> None:
        if kept:
            await self._routes.route(kept)

    async def _judge(
        self, fired: Sequence[IntakeItem]
    ) -> tuple[set[str], list[tuple[Recurring, datetime]]]:
        """What is not sent, by its ids, and what is planned."""
        now = self._clock.now()
        carried = [carried_by(item) for item in fired]
        standing = await self._standing(carried)
        dropped: set[str] = set()
        plans: list[tuple[Recurring, datetime]] = []
        for item, schedule in zip(fired, carried, strict=True):
            due = item.recurrence.occurrence_time.ToDatetime(UTC)
            if standing is None:
                plans.append((schedule, max(due, now - MADE_UP)))
                continue
            stands = standing.get(schedule.identity)
            if stands is None:
                dropped.add(item.notification_id)
            elif stands.revision == schedule.revision:
                plans.append((schedule, max(due, now - MADE_UP)))
            else:
                # Its own change planned the new one; if that did not end well, so does
                # this. What was due before the change is sent as it was.
                plans.append((stands, max(stands.changed, now - LATE)))
                if due > stands.changed:
                    dropped.add(item.notification_id)
        if dropped:
            _log.info("occurrences dropped", extra={"count": len(dropped)})
        return dropped, plans

    async def _standing(
        self, carried: Sequence[Recurring]
    ) -> Mapping[Identity, Recurring] | None:
        """The schedules as they stand; None while the table does not answer."""
        identities = {schedule.identity for schedule in carried}
        try:
            return await self._breaker.call(lambda: self._find(identities))
        except UnavailableError:
            return None

    async def _find(self, identities: set[Identity]) -> Mapping[Identity, Recurring]:
        return await self._table.find(identities)
