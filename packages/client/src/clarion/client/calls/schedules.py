"""Calls about notifications that are sent again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING

from clarion.api.router.v1.schedule_service_pb2 import (
    DeleteScheduleRequest,
    GetScheduleRequest,
    ListSchedulesRequest,
    PutScheduleRequest,
    Schedule,
)
from clarion.api.router.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from clarion.client.calls.connection import Connection

if TYPE_CHECKING:
    from clarion.api.router.v1.schedule_service_pb2_grpc import (
        ScheduleServiceAsyncStub,
    )


class ScheduleCalls(Connection):
    """A schedule has a cron line, and an id that the caller chose."""

    @cached_property
    def _schedules(self) -> ScheduleServiceAsyncStub:
        return ScheduleServiceStub(self._channel)

    async def put_schedule(self, schedule: Schedule) -> Schedule:
        """Creates or replaces a schedule; as it is stored, with its ``next_time``."""
        request = PutScheduleRequest(
            schedule_id=schedule.schedule_id, schedule=schedule
        )
        return (await self._call(self._schedules.PutSchedule, request)).schedule

    async def schedule(self, schedule_id: str) -> Schedule:
        """A schedule. Raises ApiError with the reason NOT_FOUND."""
        request = GetScheduleRequest(schedule_id=schedule_id)
        return (await self._call(self._schedules.GetSchedule, request)).schedule

    async def schedules(self) -> AsyncIterator[Schedule]:
        """The schedules, by id."""
        request = ListSchedulesRequest()
        async for page in self._pages(self._schedules.ListSchedules, request):
            for one in page.schedules:
                yield one

    async def delete_schedule(self, schedule_id: str) -> bool:
        """Ends a schedule.

        False: there was none, or an attempt before this one had deleted it.
        """
        request = DeleteScheduleRequest(schedule_id=schedule_id)
        return (await self._call(self._schedules.DeleteSchedule, request)).deleted
