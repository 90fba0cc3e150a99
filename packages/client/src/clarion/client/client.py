"""The Python SDK: one asynchronous client for the whole mesh."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

import grpc

from clarion.api.inapp.v1.inbox_service_pb2 import (
    ListInboxRequest,
    ListInboxResponse,
    WatchInboxRequest,
    WatchInboxResponse,
)
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.api.recipients.v1.preference_service_pb2 import (
    GetDefaultPreferencesRequest,
    GetPreferencesRequest,
    PutDefaultPreferencesRequest,
    UpdatePreferencesRequest,
)
from clarion.api.recipients.v1.preference_service_pb2_grpc import PreferenceServiceStub
from clarion.api.recipients.v1.recipient_pb2 import Preferences, Recipient
from clarion.api.recipients.v1.recipient_service_pb2 import BatchPutRecipientsRequest
from clarion.api.recipients.v1.recipient_service_pb2_grpc import RecipientServiceStub
from clarion.api.recipients.v1.topic_service_pb2 import SubscribeRequest
from clarion.api.recipients.v1.topic_service_pb2_grpc import TopicServiceStub
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
from clarion.api.templating.v1.template_service_pb2 import PutTemplateRequest, Template
from clarion.api.templating.v1.template_service_pb2_grpc import TemplateServiceStub
from clarion.api.tracking.v1 import tracking_service_pb2 as tracking_pb2
from clarion.api.tracking.v1.tracking_service_pb2 import (
    GetNotificationRequest,
    NotificationRecord,
)
from clarion.api.tracking.v1.tracking_service_pb2_grpc import TrackingServiceStub
from clarion.client.errors import ApiError

T = TypeVar("T")

DryRun = router_pb2.ExplainNotificationResponse
Explanation = tracking_pb2.ExplainNotificationResponse

BATCH = 500
"""How many notifications or persons go in one call; the mesh takes 1,000."""

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class Client:
    """Calls a mesh at ``target`` (host:port of its edge) with an API key.

    Every notification is sent with an idempotency key, its own or a new one, so calls
    are repeated for ``patience`` while the mesh is unavailable or full, without ever
    sending twice. Calls raise ApiError.
    """

    def __init__(
        self,
        target: str,
        api_key: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        patience: timedelta = timedelta(seconds=30),
        deadline: timedelta = timedelta(seconds=15),
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", 16 * 1024 * 1024),
            ("grpc.keepalive_time_ms", 60_000),
        ]
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        self._metadata: tuple[tuple[str, str], ...] = (
            ("authorization", f"Bearer {api_key}"),
        )
        self._patience = patience.total_seconds()
        self._deadline = deadline.total_seconds()
        self._notifications = NotificationServiceStub(self._channel)
        self._tracking = TrackingServiceStub(self._channel)
        self._recipients = RecipientServiceStub(self._channel)
        self._preferences = PreferenceServiceStub(self._channel)
        self._topics = TopicServiceStub(self._channel)
        self._templates = TemplateServiceStub(self._channel)
        self._inbox = InboxServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def send(
        self, notification: Notification, *, traceparent: str = ""
    ) -> SendNotificationResponse:
        """Sends one notification; returns when it is stored durably."""
        request = SendNotificationRequest(notification=_keyed(notification))
        metadata = self._metadata
        if traceparent:
            metadata += (("traceparent", traceparent),)
        return await self._patiently(
            lambda: self._notifications.SendNotification(
                request, metadata=metadata, timeout=self._deadline
            )
        )

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
        response = await self._patiently(
            lambda: self._notifications.BatchSendNotifications(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )
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
        return await self._patiently(
            lambda: self._notifications.BroadcastNotification(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )

    async def subscribe(self, topic: str, user_ids: Sequence[str]) -> int:
        """Adds persons to a topic, in batches; how many were new."""
        return sum(
            [
                await self._subscribe_batch(topic, user_ids[start : start + BATCH])
                for start in range(0, len(user_ids), BATCH)
            ]
        )

    async def _subscribe_batch(self, topic: str, user_ids: Sequence[str]) -> int:
        request = SubscribeRequest(topic=topic, user_ids=user_ids)
        response = await self._patiently(
            lambda: self._topics.Subscribe(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )
        return response.added

    async def cancel(
        self, notification_id: str = "", *, idempotency_key: str = ""
    ) -> CancelNotificationResponse:
        """Stops what has not been sent yet, named by its id or by its key."""
        request = CancelNotificationRequest(
            notification_id=notification_id, idempotency_key=idempotency_key
        )
        return await self._patiently(
            lambda: self._notifications.CancelNotification(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )

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
        return await self._patiently(
            lambda: self._notifications.RescheduleNotification(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )

    async def get(self, notification_id: str) -> NotificationRecord:
        """What happened to a notification."""
        request = GetNotificationRequest(notification_id=notification_id)
        response = await self._patiently(
            lambda: self._tracking.GetNotification(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )
        return response.notification

    async def explain(self, notification_id: str) -> Explanation:
        """Why a notification was or was not sent, channel by channel."""
        request = tracking_pb2.ExplainNotificationRequest(
            notification_id=notification_id
        )
        return await self._call(self._tracking.ExplainNotification, request)

    async def dry_run(self, notification: Notification) -> DryRun:
        """What would happen to a notification now, and what it would say.

        Nothing is sent or counted.
        """
        request = router_pb2.ExplainNotificationRequest(notification=notification)
        return await self._call(self._notifications.ExplainNotification, request)

    async def put_recipients(self, recipients: Sequence[Recipient]) -> None:
        """Creates or replaces persons, in batches."""
        for start in range(0, len(recipients), BATCH):
            await self._put_batch(recipients[start : start + BATCH])

    async def _put_batch(self, recipients: Sequence[Recipient]) -> None:
        request = BatchPutRecipientsRequest(recipients=recipients)
        await self._patiently(
            lambda: self._recipients.BatchPutRecipients(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )

    async def update_preferences(self, user_id: str, preferences: Preferences) -> None:
        """Changes what a person wants; what is not given stays."""
        request = UpdatePreferencesRequest(user_id=user_id, preferences=preferences)
        await self._patiently(
            lambda: self._preferences.UpdatePreferences(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )

    async def preferences(self, user_id: str) -> Preferences:
        """What is in effect for a person, and which of it is inherited."""
        request = GetPreferencesRequest(user_id=user_id)
        return await self._call(self._preferences.GetPreferences, request)

    async def default_preferences(self) -> Preferences:
        """What holds for everybody who does not say it."""
        request = GetDefaultPreferencesRequest()
        return await self._call(self._preferences.GetDefaultPreferences, request)

    async def put_default_preferences(self, preferences: Preferences) -> Preferences:
        """Replaces what holds for everybody who does not say it."""
        request = PutDefaultPreferencesRequest(preferences=preferences)
        return await self._call(self._preferences.PutDefaultPreferences, request)

    async def put_template(self, template: Template) -> None:
        """Stores and publishes a template."""
        request = PutTemplateRequest(
            template_id=template.template_id, template=template
        )
        await self._patiently(
            lambda: self._templates.PutTemplate(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )

    async def inbox(
        self, user_id: str, *, page_size: int = 50, page_token: str = ""
    ) -> ListInboxResponse:
        """One page of a person's inbox."""
        request = ListInboxRequest(
            user_id=user_id, page_size=page_size, page_token=page_token
        )
        return await self._patiently(
            lambda: self._inbox.ListInbox(
                request, metadata=self._metadata, timeout=self._deadline
            )
        )

    async def watch_inbox(
        self, user_id: str, *, after_version: int | None = None
    ) -> AsyncIterator[WatchInboxResponse]:
        """Every change of a person's inbox, without a gap; reconnects by itself."""
        version = after_version
        if version is None:
            # Known before watching, so that a reconnect begins there and not later.
            version = (await self.inbox(user_id, page_size=1)).counts.version
        wait = _FIRST_WAIT
        while True:
            call = self._inbox.WatchInbox(
                WatchInboxRequest(user_id=user_id, after_version=version),
                metadata=self._metadata,
            )
            try:
                async for change in call:
                    # The counts are of now, even while older changes are replayed.
                    version, wait = change.item.version, _FIRST_WAIT
                    yield change
            except grpc.aio.AioRpcError as error:
                failure = ApiError.of_call(error)
                if not _may_pass(failure):
                    raise failure from error
            await asyncio.sleep(wait * random.random())
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _call(self, method: Callable[..., Awaitable[T]], request: object) -> T:
        return await self._patiently(
            lambda: method(request, metadata=self._metadata, timeout=self._deadline)
        )

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeats a call that is safe to repeat while the mesh asks to come back."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience
        wait = _FIRST_WAIT
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                failure = ApiError.of_call(error)
                failure.__cause__ = error
            if not _may_pass(failure) or loop.time() + wait > give_up:
                raise failure
            known = failure.retry_after
            await asyncio.sleep(
                known.total_seconds() if known else wait * (0.5 + random.random() / 2)
            )
            wait = min(wait * 2, _LONGEST_WAIT)


def _may_pass(failure: ApiError) -> bool:
    # RESOURCE_EXHAUSTED without a reason is gRPC's own: the request is too large.
    return failure.code is grpc.StatusCode.UNAVAILABLE or failure.reason == "OVERLOADED"


def _keyed(notification: Notification) -> Notification:
    if notification.idempotency_key:
        return notification
    keyed = Notification()
    keyed.CopyFrom(notification)
    keyed.idempotency_key = uuid.uuid4().hex
    return keyed
