"""ScheduleService on the wire."""

from __future__ import annotations

from typing import Any

from clarion.api.router.v1.schedule_service_pb2 import (
    DeleteScheduleRequest,
    DeleteScheduleResponse,
    GetScheduleRequest,
    GetScheduleResponse,
    ListSchedulesRequest,
    ListSchedulesResponse,
    PutScheduleRequest,
    PutScheduleResponse,
    Schedule,
)
from clarion.api.router.v1.schedule_service_pb2_grpc import ScheduleServiceServicer
from clarion.router.schedules.keeping import Coming, Schedules
from clarion.runtime import page_token
from clarion.runtime.caller import current_caller

_PAGE = 50


class ScheduleServicer(ScheduleServiceServicer):
    """Between the contract and the use case."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    async def PutSchedule(
        self, request: PutScheduleRequest, context: Any
    ) -> PutScheduleResponse:
        coming = await self._schedules.put(
            request.schedule_id, request.schedule, current_caller()
        )
        return PutScheduleResponse(schedule=_schedule(coming))

    async def GetSchedule(
        self, request: GetScheduleRequest, context: Any
    ) -> GetScheduleResponse:
        tenant = current_caller().tenant
        coming = await self._schedules.get(tenant, request.schedule_id)
        return GetScheduleResponse(schedule=_schedule(coming))

    async def ListSchedules(
        self, request: ListSchedulesRequest, context: Any
    ) -> ListSchedulesResponse:
        tenant, size = current_caller().tenant, request.page_size or _PAGE
        position = page_token.decode(request.page_token, 1)
        after = position[0] if position else ""
        found = await self._schedules.page(tenant, after, size + 1)
        page = [_schedule(coming) for coming in found[:size]]
        is_more = len(found) > size
        return ListSchedulesResponse(
            schedules=page,
            next_page_token=page_token.encode(page[-1].schedule_id) if is_more else "",
        )

    async def DeleteSchedule(
        self, request: DeleteScheduleRequest, context: Any
    ) -> DeleteScheduleResponse:
        tenant = current_caller().tenant
        deleted = await self._schedules.delete(tenant, request.schedule_id)
        return DeleteScheduleResponse(deleted=deleted)


def _schedule(coming: Coming) -> Schedule:
    kept = coming.schedule
    schedule = Schedule(
        schedule_id=kept.schedule_id,
        notification=kept.notification,
        cron=kept.cron,
        time_zone=kept.time_zone,
    )
    if kept.start is not None:
        schedule.start_time.FromDatetime(kept.start)
    if kept.end is not None:
        schedule.end_time.FromDatetime(kept.end)
    if coming.next is not None:
        schedule.next_time.FromDatetime(coming.next)
    return schedule
