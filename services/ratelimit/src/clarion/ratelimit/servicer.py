"""RateLimitService, for the tenant of the caller."""

from __future__ import annotations

from typing import Any, cast

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as rpc
from clarion.ratelimit.limiting import RateLimiter
from clarion.ratelimit.messages import (
    encoded_results,
    message_of,
    partial_of,
    policy_of,
    stored_policy,
    wanted_of,
)
from clarion.ratelimit.window import Limit
from clarion.runtime.caller import current_caller


class RateLimitServicer(rpc.RateLimitServiceServicer):
    """Serves the permits and policies of the caller's tenant."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def BatchAcquire(
        self, request: pb.BatchAcquireRequest, context: Any
    ) -> pb.BatchAcquireResponse:
        tenant = current_caller().tenant
        wanted = wanted_of(request.items, await self._limiter.looks_closely(tenant))
        verdicts = await self._limiter.acquire(tenant, wanted)
        # What is encoded already passes as it is.
        return cast(pb.BatchAcquireResponse, encoded_results(verdicts))

    async def BatchPeek(
        self, request: pb.BatchPeekRequest, context: Any
    ) -> pb.BatchPeekResponse:
        tenant = current_caller().tenant
        wanted = wanted_of(request.items, await self._limiter.looks_closely(tenant))
        verdicts = await self._limiter.peek(tenant, wanted)
        return cast(pb.BatchPeekResponse, encoded_results(verdicts))

    async def BatchRelease(
        self, request: pb.BatchReleaseRequest, context: Any
    ) -> pb.BatchReleaseResponse:
        tenant = current_caller().tenant
        released = await self._limiter.release(tenant, wanted_of(request.items, True))
        return pb.BatchReleaseResponse(released=released)

    async def GetUsage(
        self, request: pb.GetUsageRequest, context: Any
    ) -> pb.GetUsageResponse:
        tenant = current_caller().tenant
        used = await self._limiter.usage(tenant, request.user_id)
        return pb.GetUsageResponse(
            categories={
                category: pb.Usage(
                    daily_used=own.daily, weekly_used=own.weekly, limit=_limit(limit)
                )
                for category, (own, limit) in used.categories.items()
            },
            windows=[
                pb.WindowUsage(
                    policy_id=window.policy_id, window=message_of(window), used=count
                )
                for window, count in used.windows
            ],
        )

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Any
    ) -> pb.ListPoliciesResponse:
        found = (await self._limiter.policies(current_caller().tenant)).all()
        return pb.ListPoliciesResponse(
            categories={category: _limit(limit) for category, limit in found.items()}
        )

    async def PutPolicy(
        self, request: pb.PutPolicyRequest, context: Any
    ) -> pb.PutPolicyResponse:
        tenant = current_caller().tenant
        limit = await self._limiter.put_policy(
            tenant, request.category, partial_of(request.limit)
        )
        return pb.PutPolicyResponse(category=request.category, limit=_limit(limit))

    async def PutLimitPolicy(
        self, request: pb.PutLimitPolicyRequest, context: Any
    ) -> pb.PutLimitPolicyResponse:
        tenant = current_caller().tenant
        policy = policy_of(request.policy_id, request.policy)
        await self._limiter.put_scoped(tenant, policy)
        return pb.PutLimitPolicyResponse(policy=stored_policy(policy))

    async def ListLimitPolicies(
        self, request: pb.ListLimitPoliciesRequest, context: Any
    ) -> pb.ListLimitPoliciesResponse:
        found = await self._limiter.policies(current_caller().tenant)
        return pb.ListLimitPoliciesResponse(
            policies=[stored_policy(policy) for policy in found.scoped]
        )

    async def DeleteLimitPolicy(
        self, request: pb.DeleteLimitPolicyRequest, context: Any
    ) -> pb.DeleteLimitPolicyResponse:
        tenant = current_caller().tenant
        await self._limiter.delete_scoped(tenant, request.policy_id)
        return pb.DeleteLimitPolicyResponse()


def _limit(limit: Limit) -> pb.FrequencyLimit:
    return pb.FrequencyLimit(daily=limit.daily, weekly=limit.weekly)
