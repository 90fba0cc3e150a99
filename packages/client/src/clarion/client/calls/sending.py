"""Calls that send notifications, and what can be done to them until they are sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from clarion.api.router.v1 import notification_service_pb2 as router_pb2
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    BroadcastNotificationRequest,
    BroadcastNotificationResponse,
    CancelNotificationRequest,
    CancelNotificationResponse,
    RescheduleNotificationRequest,
    RescheduleNotificationResponse,
    SendNotificationRequest,
    SendNotificationResponse,
)
from clarion.api.router.v1.notification_service_pb2_grpc import NotificationServiceStub
from clarion.client.calls.connection import BATCH, Connection
from clarion.client.errors import ApiError

if TYPE_CHECKING:
    from clarion.api.router.v1.notification_service_pb2_grpc import (
        NotificationServiceAsyncStub,
    )

DryRun = router_pb2.ExplainNotificationResponse


class SendingCalls(Connection):
    """Every notification has an idempotency key, its own or a new one."""

    @cached_property
    def _notifications(self) -> NotificationServiceAsyncStub:
        return NotificationServiceStub(self._channel)

    async def send(
        self, notification: Notification, *, traceparent: str = ""
    ) -> SendNotificationResponse:
        """Sends one notification; returns when it is stored durably."""
        request = SendNotificationRequest(notification=_keyed(notification))
        trace = [("traceparent", traceparent)] if traceparent else []
        return await self._call(self._notifications.SendNotification, request, *trace)

    async def send_all(
        self, notifications: Iterable[Notification]
    ) -> list[SendNotificationResponse | ApiError]:
        """Sends any number, in batches; one answer for each, in order."""
        keyed = [_keyed(one) for one in notifications]
        answers: list[SendNotificationResponse | ApiError] = []
        for start in range(0, len(keyed), BATCH):
            answers += await self._send_batch(keyed[start : start + BATCH])
        return answers

    async def _send_batch(
        self, notifications: Sequence[Notification]
    ) -> list[SendNotificationResponse | ApiError]:
        request = BatchSendNotificationsRequest(notifications=notifications)
        response = await self._call(self._notifications.BatchSendNotifications, request)
        return [
            result.notification
            if result.HasField("notification")
            else ApiError.of_status(result.error)
            for result in response.results
        ]

    async def broadcast(
        self, topic: str, notification: Notification
    ) -> BroadcastNotificationResponse:
        """Sends one notification, without user_id, to all subscribers of a topic.

        Returns when it is stored durably; the subscribers are read after that.
        """
        request = BroadcastNotificationRequest(
            topic=topic, notification=_keyed(notification)
        )
        return await self._call(self._notifications.BroadcastNotification, request)

    async def cancel(
        self, notification_id: str = "", *, idempotency_key: str = ""
    ) -> CancelNotificationResponse:
        """Stops what has not been sent yet, named by its id or by its key."""
        request = CancelNotificationRequest(
            notification_id=notification_id, idempotency_key=idempotency_key
        )
        return await self._call(self._notifications.CancelNotification, request)

    async def reschedule(
        self, at: datetime, notification_id: str = "", *, idempotency_key: str = ""
    ) -> RescheduleNotificationResponse:
        """Gives what is still scheduled, named by its id or its key, another time.

        ``at`` is aware; in the past it means now. Raises ApiError with the reason
        PRECONDITION_FAILED or NOT_FOUND where it is not scheduled any more.
        """
        request = RescheduleNotificationRequest(
            notification_id=notification_id, idempotency_key=idempotency_key
        )
        request.scheduled_at.FromDatetime(at)
        return await self._call(self._notifications.RescheduleNotification, request)

    async def dry_run(self, notification: Notification) -> DryRun:
        """What would happen to a notification now, and what it would say.

        Nothing is sent or counted.
        """
        request = router_pb2.ExplainNotificationRequest(notification=notification)
        return await self._call(self._notifications.ExplainNotification, request)


def _keyed(notification: Notification) -> Notification:
    if notification.idempotency_key:
        return notification
    keyed = Notification()
    keyed.CopyFrom(notification)
    keyed.idempotency_key = uuid.uuid4().hex
    return keyed
