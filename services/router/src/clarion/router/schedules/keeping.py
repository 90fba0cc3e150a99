"""The use case of keeping schedules: put, read and end them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.schedule_service_pb2 import Schedule
from clarion.router.admission import AdmissionLimits, objections
from clarion.router.notification_types import TypePolicy, Types
from clarion.router.schedules.cron import CronError, next_after, parse
from clarion.router.schedules.planning import Planner
from clarion.router.schedules.recurring import Recurring
from clarion.router.schedules.table import ScheduleTable
from clarion.runtime.caller import Caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import (
    FieldViolation,
    InvalidArgumentError,
    NotFoundError,
    TransientError,
)
from clarion.runtime.time_zones import REMEDY, is_time_zone

LATE = timedelta(seconds=2)
"""How late the stream may fire: an occurrence that has been due for less is planned
once more rather than replaced by the one after it. Twice is folded, not at all would
not be."""


@dataclass(frozen=True, slots=True)
class Coming:
    """A schedule and when it comes next."""

    schedule: Recurring
    next: datetime | None
    """None when it has ended, and while the person's zone cannot be asked for."""


class Schedules:
    """The schedules of all tenants."""

    def __init__(
        self,
        table: ScheduleTable,
        planner: Planner,
        limits: AdmissionLimits,
        clock: Clock,
        types: Types,
    ) -> None:
        self._table = table
        self._planner = planner
        self._limits = limits
        self._clock = clock
        self._types = types

    async def put(self, schedule_id: str, asked: Schedule, caller: Caller) -> Coming:
        """Stores a schedule and plans it; a change holds from now on.

        Raises InvalidArgumentError, and UnavailableError, after which it may be stored:
        repeat it.
        """
        now = self._clock.now()
        policy = self._types.policy(caller.tenant, asked.notification.type)
        wrong = self._objections(schedule_id, asked, now, policy)
        if wrong:
            raise InvalidArgumentError(violations=wrong)
        wanted = _recurring(schedule_id, asked, caller, now)
        # Before it is stored: without the person's zone there is nothing to plan.
        (zone,) = await self._planner.zones([wanted])
        if wanted.next_after(now, zone) is None:
            field = "end_time" if wanted.end is not None else "cron"
            text = "never comes: no time matches cron between now and end_time"
            violation = FieldViolation(f"schedule.{field}", text, f"{field}.never")
            raise InvalidArgumentError(violations=[violation])
        kept = await self._table.put(wanted)
        before = kept.before
        is_same = before is not None and before.comes_with(kept.now)
        after = now - LATE if is_same else now
        (coming,) = await self._planner.plan([(kept.now, after)])
        if before is not None and before.revision != kept.now.revision:
            # What is left there is dropped when it fires.
            with suppress(TransientError):
                await self._planner.withdraw(before)
        return Coming(kept.now, coming)

    async def get(self, tenant: str, schedule_id: str) -> Coming:
        """Raises NotFoundError and UnavailableError."""
        identity = (tenant, schedule_id)
        found = await self._table.find([identity])
        if identity not in found:
            raise NotFoundError("there is no schedule with this id")
        (coming,) = await self._coming([found[identity]])
        return coming

    async def page(self, tenant: str, after: str, most: int) -> Sequence[Coming]:
        """A tenant's schedules by id, from after that one. Raises UnavailableError."""
        return await self._coming(await self._table.page(tenant, after, most))

    async def delete(self, tenant: str, schedule_id: str) -> bool:
        """Ends a schedule; whether there was one.

        The row goes first: what fires from now on is dropped. Raises UnavailableError;
        repeating is safe.
        """
        gone = await self._table.delete(tenant, schedule_id)
        if gone is not None:
            await self._planner.withdraw(gone)
        return gone is not None

    async def _coming(self, schedules: Sequence[Recurring]) -> list[Coming]:
        now = self._clock.now()
        try:
            zones = await self._planner.zones(schedules)
        except TransientError:
            return [Coming(schedule, None) for schedule in schedules]
        return [
            Coming(schedule, schedule.next_after(now, zone))
            for schedule, zone in zip(schedules, zones, strict=True)
        ]

    def _objections(
        self, schedule_id: str, asked: Schedule, now: datetime, policy: TypePolicy
    ) -> list[FieldViolation]:
        path = "schedule"
        notification = _sent(asked.notification)
        where = f"{path}.notification"
        found = objections(notification, self._limits, now, where, policy)

        def object_to(field: str, description: str, rule: str) -> None:
            found.append(FieldViolation(f"{path}.{field}", description, rule))

        if asked.schedule_id not in ("", schedule_id):
            text = "differs from the id that the request names: leave it out"
            object_to("schedule_id", text, "schedule_id.other")
        try:
            cron = parse(asked.cron)
        except CronError as error:
            object_to("cron", str(error), "cron.syntax")
        else:
            if next_after(cron, UTC, now) is None:
                text = "never comes: there is no such day"
                object_to("cron", text, "cron.never")
        if asked.time_zone and not is_time_zone(asked.time_zone):
            object_to("time_zone", REMEDY, "time_zone")
        times: dict[str, datetime] = {}
        for field in ("start_time", "end_time"):
            if not asked.HasField(field):
                continue
            try:
                times[field] = _instant(getattr(asked, field))
            except (ValueError, OverflowError):
                object_to(field, "is not an instant of the years 1 to 9999", "instant")
        end = times.get("end_time")
        if end is not None and end <= times.get("start_time", now):
            text = "must lie after now and after start_time"
            object_to("end_time", text, "end_time.too_early")
        return found


def _recurring(
    schedule_id: str, asked: Schedule, caller: Caller, now: datetime
) -> Recurring:
    return Recurring(
        tenant=caller.tenant,
        schedule_id=schedule_id,
        revision=0,
        notification=_sent(asked.notification),
        cron=" ".join(asked.cron.split()),
        time_zone=asked.time_zone,
        start=_instant(asked.start_time) if asked.HasField("start_time") else None,
        end=_instant(asked.end_time) if asked.HasField("end_time") else None,
        key_id=caller.key_id,
        changed=now,
    )


def _sent(asked: Notification) -> Notification:
    """The notification without what belongs to one that is sent once."""
    sent = Notification()
    sent.CopyFrom(asked)
    sent.ClearField("scheduled_at")
    sent.ClearField("idempotency_key")
    return sent


def _instant(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)
