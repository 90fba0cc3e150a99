"""Repairing plans: every schedule has its next occurrence waiting on the stream.

A plan is lost when a put or a worker dies between two steps, and when the stream is.
All routers do this at the same time: planning twice is the same as once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from clarion.router.schedules.planning import Planner
from clarion.router.schedules.recurring import CRON, subject_of
from clarion.router.schedules.table import Identity, ScheduleTable
from clarion.runtime.clock import Clock
from clarion.runtime.errors import TransientError
from clarion.runtime.jetstream import Scheduler
from clarion.runtime.streams import SCHED

_log = logging.getLogger(__name__)

EVERY = timedelta(minutes=1)
_PAGE = 2000
_PLANNED = 500
"""Schedules that are read whole at a time."""
_ENDED = timedelta(days=1)
"""A schedule counts as ended only that long after its end: what the stream could not
fire in time is still there."""


class Waiting(Protocol):
    """What waits on the stream."""

    async def subjects(self) -> set[str]:
        """The subjects of all planned occurrences. Raises UnavailableError."""
        ...


class StreamWaiting:
    """Implements Waiting on the API of the stream."""

    def __init__(self, js: Any) -> None:
        self._js = js

    async def subjects(self) -> set[str]:
        found: set[str] = set()
        while True:
            ask = {"subjects_filter": f"later.{CRON}.>", "offset": len(found)}
            answer = await self._js.request(f"STREAM.INFO.{SCHED}", ask)
            page = answer["state"].get("subjects") or {}
            before = len(found)
            found.update(page)
            if len(found) == before or len(found) >= answer.get("total", 0):
                return found


class Reconciler:
    """Compares the table with the stream."""

    def __init__(
        self,
        table: ScheduleTable,
        waiting: Waiting,
        planner: Planner,
        scheduler: Scheduler,
        clock: Clock,
    ) -> None:
        self._table = table
        self._waiting = waiting
        self._planner = planner
        self._scheduler = scheduler
        self._clock = clock

    async def run(self) -> None:
        """Repairs at once and then every minute, until it is cancelled."""
        while True:
            try:
                await self.repair()
            except TransientError:
                _log.warning("schedules not compared", exc_info=True)
            except Exception:  # the edge: one schedule must not stop the router
                _log.exception("schedules not repaired")
            await asyncio.sleep(EVERY.total_seconds())

    async def repair(self) -> int:
        """Plans what is not planned and removes what nobody wants any more.

        How many were planned; those that fire just now are among them and planned the
        same as by the worker that has them. Raises TransientError.
        """
        # First the stream: what waits there and has no row afterwards is of a revision
        # that does not stand any more, and none gets its subject again.
        left = await self._waiting.subjects()
        repaired = 0
        after = ("", "")
        while True:
            since = self._clock.now() - _ENDED
            page = await self._table.revisions(after, _PAGE, since)
            if not page:
                break
            subjects = {subject_of(*row): row[:2] for row in page}
            missing = [name for it, name in subjects.items() if it not in left]
            left.difference_update(subjects)
            for start in range(0, len(missing), _PLANNED):
                repaired += await self._plan(missing[start : start + _PLANNED])
            after = page[-1][:2]
        for subject in left:
            await self._scheduler.cancel(subject)
        if repaired or left:
            _log.info(
                "schedules repaired", extra={"planned": repaired, "removed": len(left)}
            )
        return repaired

    async def _plan(self, missing: Sequence[Identity]) -> int:
        rows = await self._table.find(missing)
        now = self._clock.now()
        planned = await self._planner.plan([(row, now) for row in rows.values()])
        return sum(1 for at in planned if at is not None)
