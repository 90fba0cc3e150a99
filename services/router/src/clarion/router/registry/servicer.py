"""NotificationTypeService on the wire."""

from __future__ import annotations

from typing import Any

from clarion.api.router.v1.notification_type_service_pb2 import (
    DeleteNotificationTypeRequest,
    DeleteNotificationTypeResponse,
    GetNotificationTypeRequest,
    GetNotificationTypeResponse,
    ListNotificationTypesRequest,
    ListNotificationTypesResponse,
    PutNotificationTypeRequest,
    PutNotificationTypeResponse,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceServicer,
)
from clarion.router.registry.registering import Registry
from clarion.runtime import page_token
from clarion.runtime.caller import current_caller

_PAGE = 50


class NotificationTypeServicer(NotificationTypeServiceServicer):
    """The types of the caller's tenant."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def PutNotificationType(
        self, request: PutNotificationTypeRequest, context: Any
    ) -> PutNotificationTypeResponse:
        stored = await self._registry.put(
            current_caller().tenant, request.type, request.notification_type
        )
        return PutNotificationTypeResponse(notification_type=stored)

    async def GetNotificationType(
        self, request: GetNotificationTypeRequest, context: Any
    ) -> GetNotificationTypeResponse:
        found = await self._registry.get(current_caller().tenant, request.type)
        return GetNotificationTypeResponse(notification_type=found)

    async def ListNotificationTypes(
        self, request: ListNotificationTypesRequest, context: Any
    ) -> ListNotificationTypesResponse:
        position = page_token.decode(request.page_token, 1)
        page, has_more = await self._registry.page(
            current_caller().tenant,
            position[0] if position else "",
            request.page_size or _PAGE,
            request.critical_only,
        )
        return ListNotificationTypesResponse(
            notification_types=page,
            next_page_token=page_token.encode(page[-1].type) if has_more else "",
        )

    async def DeleteNotificationType(
        self, request: DeleteNotificationTypeRequest, context: Any
    ) -> DeleteNotificationTypeResponse:
        deleted = await self._registry.delete(current_caller().tenant, request.type)
        return DeleteNotificationTypeResponse(deleted=deleted)
