"""RateLimitService: protobuf to domain and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as rpc
from clarion.ratelimit.limiting import RateLimiter, Wanted
from clarion.ratelimit.policy import DEFAULT, PartialLimit
from clarion.ratelimit.window import Limit, Verdict, moment
from clarion.runtime.caller import current_caller
from clarion.runtime.errors import FieldViolation, InvalidArgumentError

_CATEGORY = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_ID_CHARACTERS = 128
_MAX_VIOLATIONS = 20


class RateLimitServicer(rpc.RateLimitServiceServicer):
    """Serves the permits and policies of the caller's tenant."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def BatchAcquire(
        self, request: pb.BatchAcquireRequest, context: Any
    ) -> pb.BatchAcquireResponse:
        tenant = current_caller().tenant
        verdicts = await self._limiter.acquire(tenant, _wanted(request.items))
        return pb.BatchAcquireResponse(results=[_result(one) for one in verdicts])

    async def BatchPeek(
        self, request: pb.BatchPeekRequest, context: Any
    ) -> pb.BatchPeekResponse:
        tenant = current_caller().tenant
        verdicts = await self._limiter.peek(tenant, _wanted(request.items))
        return pb.BatchPeekResponse(results=[_result(one) for one in verdicts])

    async def BatchRelease(
        self, request: pb.BatchReleaseRequest, context: Any
    ) -> pb.BatchReleaseResponse:
        tenant = current_caller().tenant
        released = await self._limiter.release(tenant, _wanted(request.items))
        return pb.BatchReleaseResponse(released=released)

    async def GetUsage(
        self, request: pb.GetUsageRequest, context: Any
    ) -> pb.GetUsageResponse:
        tenant = current_caller().tenant
        found = await self._limiter.usage(tenant, request.user_id)
        return pb.GetUsageResponse(
            categories={
                category: pb.Usage(
                    daily_used=used.daily, weekly_used=used.weekly, limit=_limit(limit)
                )
                for category, (used, limit) in found.items()
            }
        )

    async def ListPolicies(
        self, request: pb.ListPoliciesRequest, context: Any
    ) -> pb.ListPoliciesResponse:
        found = await self._limiter.policies(current_caller().tenant)
        return pb.ListPoliciesResponse(
            categories={category: _limit(limit) for category, limit in found.items()}
        )

    async def PutPolicy(
        self, request: pb.PutPolicyRequest, context: Any
    ) -> pb.PutPolicyResponse:
        tenant = current_caller().tenant
        limit = await self._limiter.put_policy(
            tenant, request.category, _partial(request.limit)
        )
        return pb.PutPolicyResponse(category=request.category, limit=_limit(limit))


def _wanted(items: Iterable[pb.AcquireItem]) -> list[Wanted]:
    """The items in the domain's words; one without a category is of the default one.

    The contract leaves the items unchecked for speed, and these three become keys.
    """
    wanted = []
    checked = {""}
    violations: list[FieldViolation] = []
    for index, item in enumerate(items):
        category = item.category
        request_id, user_id = item.request_id, item.user_id
        if not (
            0 < len(request_id) <= _ID_CHARACTERS
            and 0 < len(user_id) <= _ID_CHARACTERS
            and (category in checked or _CATEGORY.fullmatch(category))
        ):
            violations += _violations(index, item)
            continue
        checked.add(category)
        personal = (
            _partial(item.personal_limit) if item.HasField("personal_limit") else None
        )
        wanted.append(Wanted(request_id, user_id, category or DEFAULT, personal))
    if violations:
        raise InvalidArgumentError(violations=violations[:_MAX_VIOLATIONS])
    return wanted


def _violations(index: int, item: pb.AcquireItem) -> Iterable[FieldViolation]:
    for field in ("request_id", "user_id"):
        if not 0 < len(getattr(item, field)) <= _ID_CHARACTERS:
            yield FieldViolation(
                f"items[{index}].{field}",
                f"must have 1 to {_ID_CHARACTERS} characters",
                "string.len",
            )
    if item.category and not _CATEGORY.fullmatch(item.category):
        yield FieldViolation(
            f"items[{index}].category",
            f"must match {_CATEGORY.pattern}",
            "string.pattern",
        )


def _partial(limit: pb.FrequencyLimit) -> PartialLimit:
    return PartialLimit(
        limit.daily if limit.HasField("daily") else None,
        limit.weekly if limit.HasField("weekly") else None,
    )


def _limit(limit: Limit) -> pb.FrequencyLimit:
    return pb.FrequencyLimit(daily=limit.daily, weekly=limit.weekly)


def _result(verdict: Verdict) -> pb.AcquireResult:
    allowed, daily, weekly, exceeded, available = verdict
    if allowed:
        return pb.AcquireResult(allowed=True, daily_used=daily, weekly_used=weekly)
    result = pb.AcquireResult(exceeded=exceeded, daily_used=daily, weekly_used=weekly)
    if available:
        result.available_time.FromDatetime(moment(available))
    return result
