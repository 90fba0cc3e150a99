"""The neighbours over gRPC, asked in batches within their limits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import grpc

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    AcquireItem,
    AcquireResult,
    BatchAcquireResponse,
    BatchPeekRequest,
    BatchReleaseRequest,
)
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsRequest,
    RecipientProfile,
)
from clarion.api.recipients.v1.recipient_service_pb2_grpc import RecipientServiceStub
from clarion.api.templating.v1.template_service_pb2 import (
    BatchRenderResponse,
    RenderResult,
)
from clarion.runtime import chunks
from clarion.runtime.caller import as_tenant
from clarion.runtime.errors import RequestTooLargeError

T = TypeVar("T")
R = TypeVar("R")

# Few enough for one message as a rule: at most 4 MiB there and 16 MiB back.
_MOST_RECIPIENTS = 1000
_MOST_PERMITS = 5000
_MOST_RENDERS = 250

_BATCH_ACQUIRE = "/clarion.api.ratelimit.v1.RateLimitService/BatchAcquire"
_BATCH_RENDER = "/clarion.api.templating.v1.TemplateService/BatchRender"


async def _in_runs(
    ask: Callable[[Sequence[T]], Coroutine[Any, Any, Sequence[R]]],
    items: Sequence[T],
    most: int,
) -> list[R]:
    """Asks in runs of at most ``most``, one after the other: some are judged in order.

    A run that is too large for one message, there or back, is asked in halves.
    """
    answers: list[R] = []
    for start in range(0, len(items), most):
        run = items[start : start + most]
        try:
            answers += await ask(run)
        except RequestTooLargeError:
            if len(run) == 1:
                raise
            answers += await _in_runs(ask, run, (len(run) + 1) // 2)
    return answers


class GrpcNeighbours:
    """Implements Neighbours; a channel maps failures to our errors."""

    def __init__(
        self,
        recipients: grpc.aio.Channel,
        ratelimit: grpc.aio.Channel,
        templating: grpc.aio.Channel,
        deadline: timedelta,
    ) -> None:
        self._recipients = RecipientServiceStub(recipients)
        self._ratelimit = RateLimitServiceStub(ratelimit)
        # Without serializers: both requests have their items in field 1, as a chunk.
        self._batch_acquire: Any = ratelimit.unary_unary(
            _BATCH_ACQUIRE, response_deserializer=BatchAcquireResponse.FromString
        )
        self._batch_render: Any = templating.unary_unary(
            _BATCH_RENDER, response_deserializer=BatchRenderResponse.FromString
        )
        self._timeout = deadline.total_seconds()

    async def recipients(
        self, tenant: str, user_ids: Sequence[str]
    ) -> Sequence[RecipientProfile]:
        async def ask(run: Sequence[str]) -> Sequence[RecipientProfile]:
            request = BatchGetRecipientsRequest(user_ids=run)
            answer = await self._recipients.BatchGetRecipients(
                request, timeout=self._timeout
            )
            return answer.profiles

        with as_tenant(tenant):
            return await _in_runs(ask, user_ids, _MOST_RECIPIENTS)

    async def acquire(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[AcquireResult]:
        async def ask(run: Sequence[bytes]) -> Sequence[AcquireResult]:
            answer: BatchAcquireResponse = await self._batch_acquire(
                chunks.join(run), timeout=self._timeout
            )
            return answer.results

        with as_tenant(tenant):
            return await _in_runs(ask, items, _MOST_PERMITS)

    async def peek(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[AcquireResult]:
        async def ask(run: Sequence[bytes]) -> Sequence[AcquireResult]:
            request = BatchPeekRequest.FromString(chunks.join(run))
            answer = await self._ratelimit.BatchPeek(request, timeout=self._timeout)
            return answer.results

        with as_tenant(tenant):
            return await _in_runs(ask, items, _MOST_PERMITS)

    async def release(self, tenant: str, items: Sequence[AcquireItem]) -> None:
        async def ask(run: Sequence[AcquireItem]) -> Sequence[None]:
            request = BatchReleaseRequest(items=run)
            await self._ratelimit.BatchRelease(request, timeout=self._timeout)
            return ()

        with as_tenant(tenant):
            await _in_runs(ask, items, _MOST_PERMITS)

    async def render(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[RenderResult]:
        async def ask(run: Sequence[bytes]) -> Sequence[RenderResult]:
            answer: BatchRenderResponse = await self._batch_render(
                chunks.join(run), timeout=self._timeout
            )
            return answer.results

        with as_tenant(tenant):
            return await _in_runs(ask, items, _MOST_RENDERS)
