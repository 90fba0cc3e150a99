"""NotificationService on the wire."""

from __future__ import annotations

import grpc
from google.rpc.status_pb2 import Status

from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    BatchSendNotificationsResponse,
    BroadcastNotificationRequest,
    BroadcastNotificationResponse,
    CancelNotificationRequest,
    CancelNotificationResponse,
    ExplainNotificationRequest,
    ExplainNotificationResponse,
    RescheduleNotificationRequest,
    RescheduleNotificationResponse,
    SendNotificationRequest,
    SendNotificationResponse,
)
from clarion.api.router.v1.notification_service_pb2_grpc import (
    NotificationServiceServicer,
)
from clarion.router.accepting import Acceptance
from clarion.router.broadcasting import Broadcasting
from clarion.router.cancelling import Cancellation
from clarion.router.explaining import Explanation
from clarion.router.in_hand import InHand
from clarion.router.naming import Naming
from clarion.router.rescheduling import Rescheduling
from clarion.router.storing import Accepted
from clarion.runtime.caller import current_caller
from clarion.runtime.status import message_of


class NotificationServicer(NotificationServiceServicer):
    """Between the contract and the use cases."""

    def __init__(
        self,
        acceptance: Acceptance,
        cancellation: Cancellation,
        broadcasting: Broadcasting,
        explanation: Explanation,
        rescheduling: Rescheduling,
        naming: Naming,
        in_hand: InHand | None = None,
    ) -> None:
        self._acceptance = acceptance
        self._cancellation = cancellation
        self._broadcasting = broadcasting
        self._explanation = explanation
        self._rescheduling = rescheduling
        self._naming = naming
        self._in_hand = in_hand or InHand()

    async def SendNotification(
        self,
        request: SendNotificationRequest,
        context: grpc.aio.ServicerContext[
            SendNotificationRequest, SendNotificationResponse
        ],
    ) -> SendNotificationResponse:
        with self._in_hand.holding(1):
            accepted = await self._acceptance.accept(
                request.notification, current_caller()
            )
        return _response(accepted)

    async def BatchSendNotifications(
        self,
        request: BatchSendNotificationsRequest,
        context: grpc.aio.ServicerContext[
            BatchSendNotificationsRequest, BatchSendNotificationsResponse
        ],
    ) -> BatchSendNotificationsResponse:
        with self._in_hand.holding(len(request.notifications)):
            answers = await self._acceptance.accept_all(
                request.notifications, current_caller()
            )
        response = BatchSendNotificationsResponse()
        accepted = 0
        for index, answer in enumerate(answers):
            result = response.results.add()
            result.index = index
            if isinstance(answer, Accepted):
                result.notification.notification_id = answer.notification_id
                result.notification.status = answer.status
                accepted += 1
            else:
                error: Status = message_of(answer)
                result.error.CopyFrom(error)
        response.accepted = accepted
        response.rejected = len(answers) - accepted
        return response

    async def BroadcastNotification(
        self,
        request: BroadcastNotificationRequest,
        context: grpc.aio.ServicerContext[
            BroadcastNotificationRequest, BroadcastNotificationResponse
        ],
    ) -> BroadcastNotificationResponse:
        accepted = await self._broadcasting.accept(
            request.topic, request.notification, current_caller()
        )
        return BroadcastNotificationResponse(
            broadcast_id=accepted.notification_id, status=accepted.status
        )

    async def ExplainNotification(
        self,
        request: ExplainNotificationRequest,
        context: grpc.aio.ServicerContext[
            ExplainNotificationRequest, ExplainNotificationResponse
        ],
    ) -> ExplainNotificationResponse:
        explained = await self._explanation.explain(
            request.notification, current_caller()
        )
        return ExplainNotificationResponse(
            decision=explained.decision, contents=explained.contents
        )

    async def CancelNotification(
        self,
        request: CancelNotificationRequest,
        context: grpc.aio.ServicerContext[
            CancelNotificationRequest, CancelNotificationResponse
        ],
    ) -> CancelNotificationResponse:
        tenant = current_caller().tenant
        named = await self._naming.find(
            tenant, request.notification_id, request.idempotency_key
        )
        notification_id = named.notification_id
        status = await self._cancellation.cancel(tenant, notification_id)
        return CancelNotificationResponse(
            notification_id=notification_id, status=status
        )

    async def RescheduleNotification(
        self,
        request: RescheduleNotificationRequest,
        context: grpc.aio.ServicerContext[
            RescheduleNotificationRequest, RescheduleNotificationResponse
        ],
    ) -> RescheduleNotificationResponse:
        tenant = current_caller().tenant
        named = await self._naming.find(
            tenant, request.notification_id, request.idempotency_key
        )
        status = await self._rescheduling.reschedule(
            tenant, named, request.scheduled_at
        )
        return RescheduleNotificationResponse(
            notification_id=named.notification_id, status=status
        )


def _response(accepted: Accepted) -> SendNotificationResponse:
    return SendNotificationResponse(
        notification_id=accepted.notification_id, status=accepted.status
    )
