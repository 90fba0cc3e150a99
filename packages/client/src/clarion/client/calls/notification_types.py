"""Calls about types of notification."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING

from clarion.api.router.v1.notification_type_service_pb2 import (
    DeleteNotificationTypeRequest,
    GetNotificationTypeRequest,
    ListNotificationTypesRequest,
    NotificationType,
    PutNotificationTypeRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)
from clarion.client.calls.connection import Connection

if TYPE_CHECKING:
    from clarion.api.router.v1.notification_type_service_pb2_grpc import (
        NotificationTypeServiceAsyncStub,
    )


class NotificationTypeCalls(Connection):
    """How a kind of notification is treated; every router knows it within a second."""

    @cached_property
    def _types(self) -> NotificationTypeServiceAsyncStub:
        return NotificationTypeServiceStub(self._channel)

    async def put_notification_type(
        self, notification_type: NotificationType
    ) -> NotificationType:
        """Creates or replaces a type, named by its ``type``; as it is stored."""
        request = PutNotificationTypeRequest(
            type=notification_type.type, notification_type=notification_type
        )
        response = await self._call(self._types.PutNotificationType, request)
        return response.notification_type

    async def notification_type(self, type: str) -> NotificationType:
        """A type, registered or built in. Raises ApiError with the reason NOT_FOUND."""
        request = GetNotificationTypeRequest(type=type)
        response = await self._call(self._types.GetNotificationType, request)
        return response.notification_type

    async def notification_types(
        self, *, critical_only: bool = False
    ) -> AsyncIterator[NotificationType]:
        """The types, the built-in ones included, by name."""
        request = ListNotificationTypesRequest(critical_only=critical_only)
        async for page in self._pages(self._types.ListNotificationTypes, request):
            for one in page.notification_types:
                yield one

    async def delete_notification_type(self, type: str) -> bool:
        """Forgets a type: it is treated as one that nobody registered.

        False: it was not registered, or an attempt before this one had deleted it.
        """
        request = DeleteNotificationTypeRequest(type=type)
        return (await self._call(self._types.DeleteNotificationType, request)).deleted
