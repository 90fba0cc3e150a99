"""Calls that tell what became of notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING

from clarion.api.tracking.v1.tracking_service_pb2 import (
    ExplainNotificationRequest,
    ExplainNotificationResponse,
    GetNotificationRequest,
    ListNotificationsRequest,
    NotificationRecord,
)
from clarion.api.tracking.v1.tracking_service_pb2_grpc import TrackingServiceStub
from clarion.client.calls.connection import Connection

if TYPE_CHECKING:
    from clarion.api.tracking.v1.tracking_service_pb2_grpc import (
        TrackingServiceAsyncStub,
    )

Explanation = ExplainNotificationResponse


class TrackingCalls(Connection):
    """What is told follows the mesh by well under a second."""

    @cached_property
    def _tracking(self) -> TrackingServiceAsyncStub:
        return TrackingServiceStub(self._channel)

    async def get(self, notification_id: str) -> NotificationRecord:
        """What happened to a notification."""
        request = GetNotificationRequest(notification_id=notification_id)
        response = await self._call(self._tracking.GetNotification, request)
        return response.notification

    async def notifications(
        self,
        *,
        broadcast_id: str = "",
        user_id: str = "",
        status: str = "",
        type: str = "",
    ) -> AsyncIterator[NotificationRecord]:
        """Notifications, the newest first, read page by page while they are taken.

        With ``broadcast_id`` those that a broadcast made for its subscribers.
        """
        request = ListNotificationsRequest(
            broadcast_id=broadcast_id, user_id=user_id, status=status, type=type
        )
        async for page in self._pages(self._tracking.ListNotifications, request):
            for record in page.notifications:
                yield record

    async def explain(self, notification_id: str) -> Explanation:
        """Why a notification was or was not sent, channel by channel."""
        request = ExplainNotificationRequest(notification_id=notification_id)
        return await self._call(self._tracking.ExplainNotification, request)
