"""TrackingService: proto to rows and back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.tracking.v1 import tracking_service_pb2 as pb2
from clarion.api.tracking.v1 import tracking_service_pb2_grpc as pb2_grpc
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import InvalidArgumentError, NotFoundError
from clarion.tracking import page_token, records, state
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.event_values import EPOCH, micros_of, uuid_bytes
from clarion.tracking.explaining import explanation
from clarion.tracking.page_token import Position
from clarion.tracking.repository import (
    AttemptRow,
    DeliveryRow,
    EventRow,
    Filters,
    NotificationRow,
    Repository,
)

_DEFAULT_PAGE = 50
_MOST_WAITING = 100
_YOUNG = timedelta(seconds=10)
_PATIENCE = 2.0
_LOOK_EVERY = 0.25
"""Seconds; the writer that stores it may run in another process."""
_DAY = timedelta(days=1)


class TrackingServicer(pb2_grpc.TrackingServiceServicer):
    """Answers from the tables that the writer fills."""

    def __init__(
        self, repository: Repository, arrivals: Arrivals, clock: Clock
    ) -> None:
        self._repository = repository
        self._arrivals = arrivals
        self._clock = clock

    async def GetNotification(
        self, request: pb2.GetNotificationRequest, context: Any
    ) -> pb2.GetNotificationResponse:
        row, deliveries, attempts, events = await self._all(request.notification_id)
        record = records.summary(row, deliveries, attempts)
        records.add_events(record, events)
        if record.HasField("broadcast"):
            await self._add_states(record.broadcast, row)
        return pb2.GetNotificationResponse(notification=record)

    async def ExplainNotification(
        self, request: pb2.ExplainNotificationRequest, context: Any
    ) -> pb2.ExplainNotificationResponse:
        stored = await self._all(request.notification_id)
        answer = explanation(*stored)
        if answer.HasField("broadcast"):
            await self._add_states(answer.broadcast, stored[0])
        return answer

    async def ListNotifications(
        self, request: pb2.ListNotificationsRequest, context: Any
    ) -> pb2.ListNotificationsResponse:
        tenant = current_caller().tenant
        _check_status(request.status)
        filters = Filters(
            request.user_id, request.status, request.type, request.broadcast_id.lower()
        )
        scope = (tenant, *filters.scope)
        before = page_token.decode(request.page_token, *scope)
        size = request.page_size or _DEFAULT_PAGE
        rows = await self._repository.list_notifications(
            tenant, filters, before, size + 1
        )
        page, more = rows[:size], rows[size:]
        response = pb2.ListNotificationsResponse(
            notifications=await self._summaries(page)
        )
        if more:
            last = page[-1]
            position = Position(micros_of(last.accepted_time), last.notification_id)
            response.next_page_token = page_token.encode(position, *scope)
        return response

    async def GetReconciliation(
        self, request: pb2.GetReconciliationRequest, context: Any
    ) -> pb2.GetReconciliationResponse:
        now = self._clock.now()
        end = _instant(request.end_time, "end_time") if _has(request, "end") else now
        start = (
            _instant(request.start_time, "start_time")
            if _has(request, "start")
            else end - _DAY
        )
        if start > end:
            raise InvalidArgumentError.of("start_time", "must not be after end_time")
        found = await self._repository.reconciliation(
            current_caller().tenant, start, end, _MOST_WAITING
        )
        return pb2.GetReconciliationResponse(
            notifications=found.notifications,
            planned=sum(found.statuses.values()),
            statuses={state.NAMES[s]: n for s, n in found.statuses.items()},
            waiting=sum(found.statuses.get(s, 0) for s in state.WAITING),
            oldest_waiting=[
                records.delivery_record(row) for row in found.oldest_waiting
            ],
        )

    async def _all(
        self, notification_id: str
    ) -> tuple[NotificationRow, list[DeliveryRow], list[AttemptRow], list[EventRow]]:
        """All that is stored of one notification of the caller's tenant.

        Raises NotFoundError.
        """
        id = uuid_bytes(notification_id, "notification_id")
        row = await self._found(current_caller().tenant, id)
        if row is None:
            raise NotFoundError.of("notification", notification_id)
        return (
            row,
            await self._repository.deliveries([id]),
            await self._repository.attempts([id]),
            await self._repository.timeline(row),
        )

    async def _add_states(
        self, record: pb2.BroadcastRecord, row: NotificationRow
    ) -> None:
        states = await self._repository.broadcast_states(row.notification_id)
        records.add_states(record, states)

    async def _found(self, tenant: str, id: bytes) -> NotificationRow | None:
        """The row; for an id that was just given out, waits for its first event."""
        with self._arrivals.of(id) as arrived:
            row = await self._repository.notification(tenant, id)
            if row is not None or not may_be_young(id, self._clock.now()):
                return row
            give_up = self._clock.monotonic() + _PATIENCE
            while row is None and (left := give_up - self._clock.monotonic()) > 0:
                try:
                    async with asyncio.timeout(min(left, _LOOK_EVERY)):
                        await arrived.wait()
                except TimeoutError:
                    pass
                arrived.clear()
                row = await self._repository.notification(tenant, id)
            return row

    async def _summaries(
        self, rows: list[NotificationRow]
    ) -> list[pb2.NotificationRecord]:
        ids = [row.notification_id for row in rows]
        deliveries, attempts = defaultdict(list), defaultdict(list)
        for delivery in await self._repository.deliveries(ids):
            deliveries[delivery.notification_id].append(delivery)
        for attempt in await self._repository.attempts(ids):
            attempts[attempt.notification_id].append(attempt)
        return [
            records.summary(row, deliveries[id], attempts[id])
            for id, row in zip(ids, rows, strict=True)
        ]


def may_be_young(id: bytes, now: datetime) -> bool:
    """Whether the id can have been given out in the last seconds.

    A UUIDv7 says when it was made. A UUIDv5, made of an idempotency key, does not: it
    gets the benefit of the doubt.
    """
    version = id[6] >> 4
    if version == 7:
        made = datetime.fromtimestamp(int.from_bytes(id[:6], "big") / 1000, UTC)
        return abs(now - made) < _YOUNG
    return version == 5


def _has(request: pb2.GetReconciliationRequest, which: str) -> bool:
    return request.HasField("end_time" if which == "end" else "start_time")


def _instant(time: Timestamp, field: str) -> datetime:
    try:
        return max(time.ToDatetime(UTC), EPOCH)
    except (ValueError, OverflowError) as error:
        raise InvalidArgumentError.of(field, "is not an instant") from error


def _check_status(status: str) -> None:
    if status and status not in state.NOTIFICATION_STATUSES:
        allowed = ", ".join(state.NOTIFICATION_STATUSES)
        raise InvalidArgumentError.of("status", f"must be of {allowed}")
