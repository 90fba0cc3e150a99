"""ConsentService: the ledger of consents, and the suppressions."""

from __future__ import annotations

from typing import Any

from clarion.api.recipients.v1.consent_service_pb2 import (
    BatchSuppressRequest,
    BatchSuppressResponse,
    ListConsentsRequest,
    ListConsentsResponse,
    ListSuppressionsRequest,
    ListSuppressionsResponse,
    RecordConsentRequest,
    RecordConsentResponse,
    RemoveSuppressionRequest,
    RemoveSuppressionResponse,
)
from clarion.api.recipients.v1.consent_service_pb2_grpc import ConsentServiceServicer
from clarion.recipients import given_names, instant
from clarion.recipients.changes import Changes
from clarion.recipients.suppressing import Suppressions
from clarion.recipients.tables import consents, suppressions
from clarion.recipients.transactions import Pool, transaction
from clarion.runtime import page_token
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import InvalidArgumentError

_PAGE = 50
_ADDRESS_IN_INDEX = 128


class ConsentServicer(ConsentServiceServicer):
    """What the people of the caller's tenant agreed to, and who gets nothing."""

    def __init__(
        self, pool: Pool, changes: Changes, suppressed: Suppressions, clock: Clock
    ) -> None:
        self._pool = pool
        self._changes = changes
        self._suppressions = suppressed
        self._clock = clock

    async def RecordConsent(
        self, request: RecordConsentRequest, context: Any
    ) -> RecordConsentResponse:
        tenant, now = current_caller().tenant, self._clock.now()
        given = request.consent
        found = instant.violations(given.given_time, "consent.given_time", now)
        if given.channel:
            found += given_names.channel(given.channel, "consent.channel")
        if found:
            raise InvalidArgumentError(violations=found)
        async with self._changes.of(tenant, request.user_id) as change:
            entry = await consents.add(
                change.connection, tenant, request.user_id, request.consent, now
            )
        return RecordConsentResponse(consent=entry)

    async def ListConsents(
        self, request: ListConsentsRequest, context: Any
    ) -> ListConsentsResponse:
        tenant, size = current_caller().tenant, request.page_size or _PAGE
        position = page_token.decode(request.page_token, 1)
        before = _sequence(position[0]) if position else consents.BEGINNING
        async with transaction(self._pool) as connection:
            found = await consents.page(
                connection, tenant, request.user_id, before, size + 1
            )
        page = found[:size]
        return ListConsentsResponse(
            consents=[entry for _, entry in page],
            next_page_token=(
                page_token.encode(str(page[-1][0])) if len(found) > size else ""
            ),
        )

    async def BatchSuppress(
        self, request: BatchSuppressRequest, context: Any
    ) -> BatchSuppressResponse:
        wrong = [
            violation
            for place, entry in enumerate(request.suppressions)
            for violation in (
                *instant.violations(
                    entry.created_time, f"suppressions[{place}].created_time"
                ),
                *given_names.suppressed(entry, f"suppressions[{place}]"),
            )
        ]
        if wrong:
            raise InvalidArgumentError(violations=wrong)
        tenant = current_caller().tenant
        added = await self._suppressions.add(tenant, request.suppressions)
        return BatchSuppressResponse(added=added)

    async def RemoveSuppression(
        self, request: RemoveSuppressionRequest, context: Any
    ) -> RemoveSuppressionResponse:
        tenant = current_caller().tenant
        removed = await self._suppressions.remove(
            tenant, request.channel, request.address
        )
        return RemoveSuppressionResponse(removed=removed)

    async def ListSuppressions(
        self, request: ListSuppressionsRequest, context: Any
    ) -> ListSuppressionsResponse:
        tenant, size = current_caller().tenant, request.page_size or _PAGE
        position = page_token.decode(request.page_token, 3) or ["", "", ""]
        after = (position[0], position[1], _digest(position[2]))
        async with transaction(self._pool) as connection:
            found = await suppressions.page(
                connection, tenant, request.channel, after, size + 1
            )
        page = found[:size]
        token = ""
        if len(found) > size:
            digest, last = page[-1]
            token = page_token.encode(
                last.channel, last.address[:_ADDRESS_IN_INDEX], digest.hex()
            )
        return ListSuppressionsResponse(
            suppressions=[entry for _, entry in page], next_page_token=token
        )


def _sequence(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > consents.BEGINNING:
        raise page_token.invalid()
    return int(text)


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise page_token.invalid() from None
