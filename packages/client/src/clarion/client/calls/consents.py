"""Calls about what people agreed to, and addresses that nothing is sent to."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from clarion.api.recipients.v1.consent_service_pb2 import (
    BatchSuppressRequest,
    Consent,
    ListConsentsRequest,
    ListSuppressionsRequest,
    RecordConsentRequest,
    RemoveSuppressionRequest,
)
from clarion.api.recipients.v1.consent_service_pb2_grpc import ConsentServiceStub
from clarion.api.recipients.v1.recipient_pb2 import Suppression
from clarion.client.calls.connection import BATCH, Connection

if TYPE_CHECKING:
    from clarion.api.recipients.v1.consent_service_pb2_grpc import (
        ConsentServiceAsyncStub,
    )


class ConsentCalls(Connection):
    """A change is honoured within a second."""

    @cached_property
    def _consents(self) -> ConsentServiceAsyncStub:
        return ConsentServiceStub(self._channel)

    async def record_consent(self, user_id: str, consent: Consent) -> Consent:
        """Adds an entry to a person's ledger; as it is stored.

        One without ``request_id`` gets a new one, so that repeating adds one entry.
        """
        request = RecordConsentRequest(user_id=user_id, consent=consent)
        if not consent.request_id:
            request.consent.request_id = uuid.uuid4().hex
        return (await self._call(self._consents.RecordConsent, request)).consent

    async def consents(self, user_id: str) -> AsyncIterator[Consent]:
        """A person's ledger, the newest entry first."""
        request = ListConsentsRequest(user_id=user_id)
        async for page in self._pages(self._consents.ListConsents, request):
            for one in page.consents:
                yield one

    async def suppress(self, suppressions: Sequence[Suppression]) -> int:
        """Has nothing sent to addresses, in batches; how many were new."""
        added = 0
        for start in range(0, len(suppressions), BATCH):
            some = suppressions[start : start + BATCH]
            request = BatchSuppressRequest(suppressions=some)
            added += (await self._call(self._consents.BatchSuppress, request)).added
        return added

    async def suppressions(self, *, channel: str = "") -> AsyncIterator[Suppression]:
        """The suppressed addresses, by channel and address."""
        request = ListSuppressionsRequest(channel=channel)
        async for page in self._pages(self._consents.ListSuppressions, request):
            for one in page.suppressions:
                yield one

    async def remove_suppression(self, channel: str, address: str) -> bool:
        """Lifts a suppression.

        False: there was none, or an attempt before this one had lifted it.
        """
        request = RemoveSuppressionRequest(channel=channel, address=address)
        return (await self._call(self._consents.RemoveSuppression, request)).removed
