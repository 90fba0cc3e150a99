"""TopicService."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clarion.api.recipients.v1.topic_service_pb2 import (
    ListSubscribersRequest,
    ListSubscribersResponse,
    SubscribeRequest,
    SubscribeResponse,
    UnsubscribeRequest,
    UnsubscribeResponse,
)
from clarion.api.recipients.v1.topic_service_pb2_grpc import TopicServiceServicer
from clarion.recipients.tables import topics
from clarion.recipients.transactions import Pool, transaction
from clarion.runtime import page_token
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import Clock
from clarion.runtime.errors import FieldViolation, InvalidArgumentError

_PAGE = 500
_LONGEST_ID = 128


class TopicServicer(TopicServiceServicer):
    """The topics of the caller's tenant."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def Subscribe(
        self, request: SubscribeRequest, context: Any
    ) -> SubscribeResponse:
        _check_ids(request.user_ids)
        tenant, now = current_caller().tenant, self._clock.now()
        async with transaction(self._pool) as connection:
            added = await topics.subscribe(
                connection, tenant, request.topic, request.user_ids, now
            )
        return SubscribeResponse(added=added)

    async def Unsubscribe(
        self, request: UnsubscribeRequest, context: Any
    ) -> UnsubscribeResponse:
        tenant = current_caller().tenant
        async with transaction(self._pool) as connection:
            removed = await topics.unsubscribe(
                connection, tenant, request.topic, request.user_ids
            )
        return UnsubscribeResponse(removed=removed)

    async def ListSubscribers(
        self, request: ListSubscribersRequest, context: Any
    ) -> ListSubscribersResponse:
        tenant, size = current_caller().tenant, request.page_size or _PAGE
        position = page_token.decode(request.page_token, 1)
        after = position[0] if position else ""
        async with transaction(self._pool) as connection:
            found = await topics.page(
                connection, tenant, request.topic, after, size + 1
            )
        page = found[:size]
        return ListSubscribersResponse(
            user_ids=page,
            next_page_token=page_token.encode(page[-1]) if len(found) > size else "",
        )


def _check_ids(user_ids: Sequence[str]) -> None:
    # The contract has no rule for these; anything else could never be a person.
    wrong = [
        FieldViolation(
            f"user_ids[{place}]",
            "must be 1 to 128 characters without white space",
            "user_id.form",
        )
        for place, user_id in enumerate(user_ids)
        if not 0 < len(user_id) <= _LONGEST_ID or len(user_id.split()) != 1
    ]
    if wrong:
        raise InvalidArgumentError(violations=wrong)
