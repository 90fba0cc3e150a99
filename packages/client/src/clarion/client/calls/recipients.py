"""Calls about people, what they want, and the topics that they subscribe to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

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
from clarion.client.calls.connection import BATCH, Connection

if TYPE_CHECKING:
    from clarion.api.recipients.v1.preference_service_pb2_grpc import (
        PreferenceServiceAsyncStub,
    )
    from clarion.api.recipients.v1.recipient_service_pb2_grpc import (
        RecipientServiceAsyncStub,
    )
    from clarion.api.recipients.v1.topic_service_pb2_grpc import TopicServiceAsyncStub


class RecipientCalls(Connection):
    """A change of preferences is honoured within a second."""

    @cached_property
    def _recipients(self) -> RecipientServiceAsyncStub:
        return RecipientServiceStub(self._channel)

    @cached_property
    def _preferences(self) -> PreferenceServiceAsyncStub:
        return PreferenceServiceStub(self._channel)

    @cached_property
    def _topics(self) -> TopicServiceAsyncStub:
        return TopicServiceStub(self._channel)

    async def put_recipients(self, recipients: Sequence[Recipient]) -> None:
        """Creates or replaces persons, in batches."""
        for start in range(0, len(recipients), BATCH):
            some = recipients[start : start + BATCH]
            request = BatchPutRecipientsRequest(recipients=some)
            await self._call(self._recipients.BatchPutRecipients, request)

    async def update_preferences(self, user_id: str, preferences: Preferences) -> None:
        """Changes what a person wants; what is not given stays."""
        request = UpdatePreferencesRequest(user_id=user_id, preferences=preferences)
        await self._call(self._preferences.UpdatePreferences, request)

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

    async def subscribe(self, topic: str, user_ids: Sequence[str]) -> int:
        """Adds persons to a topic, in batches; how many were new."""
        added = 0
        for start in range(0, len(user_ids), BATCH):
            some = user_ids[start : start + BATCH]
            request = SubscribeRequest(topic=topic, user_ids=some)
            added += (await self._call(self._topics.Subscribe, request)).added
        return added
