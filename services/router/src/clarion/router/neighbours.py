"""The neighbours over gRPC, asked in batches within their limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import grpc

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    AcquireItem,
    AcquireResult,
    BatchAcquireRequest,
)
from clarion.api.ratelimit.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsRequest,
    RecipientProfile,
)
from clarion.api.recipients.v1.recipient_service_pb2_grpc import RecipientServiceStub
from clarion.api.templating.v1.template_service_pb2 import (
    BatchRenderRequest,
    RenderItem,
    RenderResult,
)
from clarion.api.templating.v1.template_service_pb2_grpc import TemplateServiceStub
from clarion.runtime.caller import as_tenant

T = TypeVar("T")

# Answers stay well under the 4 MiB that a message may have.
_MOST_RECIPIENTS = 1000
_MOST_PERMITS = 5000
_MOST_RENDERS = 250


def _runs(items: Sequence[T], most: int) -> list[Sequence[T]]:
    return [items[start : start + most] for start in range(0, len(items), most)]


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
        self._templating = TemplateServiceStub(templating)
        self._timeout = deadline.total_seconds()

    async def recipients(
        self, tenant: str, user_ids: Sequence[str]
    ) -> Sequence[RecipientProfile]:
        with as_tenant(tenant):
            answers = await asyncio.gather(
                *(
                    self._recipients.BatchGetRecipients(
                        BatchGetRecipientsRequest(user_ids=run), timeout=self._timeout
                    )
                    for run in _runs(user_ids, _MOST_RECIPIENTS)
                )
            )
        return [profile for answer in answers for profile in answer.profiles]

    async def acquire(
        self, tenant: str, items: Sequence[AcquireItem]
    ) -> Sequence[AcquireResult]:
        results: list[AcquireResult] = []
        with as_tenant(tenant):
            # One after the other: items are judged in order.
            for run in _runs(items, _MOST_PERMITS):
                answer = await self._ratelimit.BatchAcquire(
                    BatchAcquireRequest(items=run), timeout=self._timeout
                )
                results.extend(answer.results)
        return results

    async def render(
        self, tenant: str, items: Sequence[RenderItem]
    ) -> Sequence[RenderResult]:
        with as_tenant(tenant):
            answers = await asyncio.gather(
                *(
                    self._templating.BatchRender(
                        BatchRenderRequest(items=run), timeout=self._timeout
                    )
                    for run in _runs(items, _MOST_RENDERS)
                )
            )
        return [result for answer in answers for result in answer.results]
