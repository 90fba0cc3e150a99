"""Planning occurrences: the next one of a schedule waits on the stream."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, tzinfo

from clarion.router.notification_types import Types
from clarion.router.ports import Neighbours
from clarion.router.schedules.recurring import Recurring
from clarion.runtime import chunks
from clarion.runtime.jetstream import Scheduler
from clarion.runtime.streams import INTAKE, due_subject
from clarion.runtime.time_zones import zone_of

_AT_ONCE = 500
"""Plans that are written at the same time, with one sync to disk."""


class Planner:
    """Finds out when schedules come next and plans it."""

    def __init__(
        self, neighbours: Neighbours, scheduler: Scheduler, types: Types
    ) -> None:
        self._neighbours = neighbours
        self._scheduler = scheduler
        self._types = types

    async def zones(self, schedules: Sequence[Recurring]) -> list[tzinfo]:
        """The zone of each: its own, else the person's, else UTC.

        Asks for all people of a tenant at once, and nobody when all name their zone.
        Raises TransientError while the people cannot be asked about.
        """
        wanted: dict[str, set[str]] = defaultdict(set)
        for schedule in schedules:
            if not schedule.time_zone:
                wanted[schedule.tenant].add(schedule.notification.user_id)
        known: dict[tuple[str, str], str] = {}
        for tenant, people in wanted.items():
            user_ids = sorted(people)
            profiles = await self._neighbours.recipients(tenant, user_ids)
            for user_id, profile in zip(user_ids, profiles, strict=True):
                known[tenant, user_id] = profile.recipient.time_zone
        return [
            zone_of(
                schedule.time_zone
                or known[schedule.tenant, schedule.notification.user_id]
            )
            for schedule in schedules
        ]

    async def plan(
        self, schedules: Sequence[tuple[Recurring, datetime]]
    ) -> list[datetime | None]:
        """Plans the first occurrence of each later than the instant beside it.

        Returns when all are stored: the times, None for what has come to its end.
        Repeating is safe. Raises TransientError.
        """
        zones = await self.zones([schedule for schedule, _ in schedules])
        coming = [
            schedule.next_after(after, zone)
            for (schedule, after), zone in zip(schedules, zones, strict=True)
        ]
        due = [
            (schedule, at)
            for (schedule, _), at in zip(schedules, coming, strict=True)
            if at is not None
        ]
        for start in range(0, len(due), _AT_ONCE):
            run = due[start : start + _AT_ONCE]
            writes = (self._write(schedule, at) for schedule, at in run)
            for outcome in await asyncio.gather(*writes, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        return coming

    async def withdraw(self, schedule: Recurring) -> None:
        """Removes what is planned for this revision of a schedule."""
        await self._scheduler.cancel(schedule.subject)

    async def _write(self, schedule: Recurring, at: datetime) -> None:
        item = schedule.occurrence(at)
        own = schedule.notification
        policy = self._types.policy(schedule.tenant, own.type)
        await self._scheduler.schedule(
            schedule.subject,
            target=due_subject(INTAKE, own.priority or policy.priority),
            due=at,
            # The same bytes every time, by which the stream knows a repetition.
            body=chunks.join([item.SerializeToString(deterministic=True)]),
            message_id=item.notification_id,
        )
