"""What the limiter said, in the words of a decision. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    AcquireResult,
    ChannelRefusal,
)
from clarion.api.router.v1.decision_pb2 import LimitOutcome
from clarion.router.looked_at import LookedAt
from clarion.router.plan import (
    DEFERRED,
    DIGESTED,
    ChannelPlan,
    Plan,
)

RULE = "frequency_limit"


def rules_of_permit(plan: Plan, stopped: Sequence[ChannelPlan]) -> Iterator[LookedAt]:
    """The rule as it was looked at; ``stopped`` are the channels that it took out."""
    permit = plan.permit
    if permit is None:
        return
    outcome = "pass" if _has_room(permit) else _outcome(stopped)
    yield LookedAt(RULE, "", outcome, _detail(plan, permit))
    for refusal in permit.channels:
        own = [one for one in stopped if one.channel == refusal.channel]
        if own:
            yield LookedAt(RULE, refusal.channel, _outcome(own), _objection(refusal))


def limits_of(plan: Plan) -> Iterator[LimitOutcome]:
    """The limits that objected, and those that could not be asked."""
    permit = plan.permit
    if permit is None:
        return
    if permit.unchecked or not _has_room(permit):
        yield _told(permit, "", _has_room(permit))
    for refusal in permit.channels:
        yield _told(refusal, refusal.channel, False)


def is_unchecked(plan: Plan) -> bool:
    """Whether it goes on without having been counted."""
    return plan.permit is not None and plan.permit.unchecked


def _has_room(permit: AcquireResult) -> bool:
    """Whether the whole has; it is not allowed either when no channel has."""
    return permit.allowed or bool(permit.channels)


def _outcome(stopped: Sequence[ChannelPlan]) -> str:
    outcomes = {one.outcome for one in stopped}
    if DIGESTED in outcomes:
        return "digest"
    return "defer" if DEFERRED in outcomes else "limit"


def _detail(plan: Plan, permit: AcquireResult) -> str:
    if permit.unchecked:
        says = "open" if _has_room(permit) else "closed"
        return f"{plan.category}: not counted, limits are not available; {says}"
    used = f"{permit.daily_used} in 24 hours, {permit.weekly_used} in 7 days"
    detail = f"{plan.category}: {used}"
    return detail if _has_room(permit) else f"{detail}; {_objection(permit)}"


def _objection(refusal: AcquireResult | ChannelRefusal) -> str:
    if not refusal.exceeded:
        return "not counted, limits are not available; closed"
    detail = f"the {refusal.exceeded} limit"
    if refusal.policy_id:
        detail = f"{detail} of {refusal.policy_id}"
    detail = f"{detail} is full"
    if refusal.HasField("available_time"):
        detail = f"{detail} until {refusal.available_time.ToJsonString()}"
    return detail


def _told(
    refusal: AcquireResult | ChannelRefusal, channel: str, allowed: bool
) -> LimitOutcome:
    told = LimitOutcome(
        channel=channel,
        allowed=allowed,
        unchecked=refusal.unchecked,
        policy_id=refusal.policy_id,
        exceeded=refusal.exceeded,
    )
    if refusal.HasField("available_time"):
        told.available_time.CopyFrom(refusal.available_time)
    return told
