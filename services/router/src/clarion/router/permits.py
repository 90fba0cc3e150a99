"""The permits that a plan needs of the limiter, and what its answer does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    AcquireItem,
    AcquireResult,
    ChannelRefusal,
    FrequencyLimit,
)
from clarion.router.digests.windows import Wait
from clarion.router.notification_types import DEFER, DIGEST
from clarion.router.plan import (
    DEFERRED,
    EXPIRED,
    FAILED,
    PLANNED,
    RATE_LIMITED,
    STANDBY,
    ChannelPlan,
    Plan,
    is_over,
)
from clarion.runtime.chunks import field
from clarion.runtime.delivery.unsent_counts import Count

_REQUEST_ID = AcquireItem.REQUEST_ID_FIELD_NUMBER
_USER_ID = AcquireItem.USER_ID_FIELD_NUMBER

LIMITS_UNAVAILABLE = "limits_unavailable"
"""The reason of what waits until its limits can be counted."""
ASK_AGAIN = timedelta(seconds=30)
"""How long it waits."""


def permit_for(plan: Plan) -> bytes:
    """The permit that a plan needs: one a notification, and for its channels.

    An AcquireItem, put together of encoded fields as most have most of it in common.
    """
    permit = (
        _kind(
            plan.category,
            plan.type,
            tuple([one.channel for one in plan.channels if one.outcome == PLANNED]),
        )
        + field(_REQUEST_ID, plan.notification_id.encode())
        + field(_USER_ID, plan.user_id.encode())
    )
    limits = plan.profile.preferences.frequency_limits
    if limits or plan.policy.limits:
        permit += _own_limits(plan, limits).SerializeToString()
    return permit


@lru_cache(maxsize=4096)
def _kind(category: str, type: str, channels: tuple[str, ...]) -> bytes:
    """What the permits of many notifications say."""
    return AcquireItem(
        category=category, type=type, channels=channels
    ).SerializeToString()


def _own_limits(plan: Plan, limits: Mapping[str, FrequencyLimit]) -> AcquireItem:
    """The limits of a permit; ``limits`` are the person's."""
    permit = AcquireItem()
    if plan.policy.limits:
        permit.type_limits.windows.extend(plan.policy.limits)
    if plan.category in limits:
        permit.personal_limit.CopyFrom(limits[plan.category])
    if plan.type != plan.category and plan.type in limits:
        permit.type_limits.personal_limit.CopyFrom(limits[plan.type])
    return permit


def unused_permit(plan: Plan) -> AcquireItem | None:
    """What was taken for channels that then could not be rendered or stand by.

    All of it when no channel is sent on, now or before.
    """
    failed = [one.channel for one in plan.channels if one.outcome in (FAILED, STANDBY)]
    if not failed or plan.permit is None or plan.permit.unchecked:
        return None
    unused = AcquireItem.FromString(permit_for(plan))
    is_all = not plan.planned and planned_before(plan) == 0
    unused.channels[:] = [] if is_all else failed
    return unused


def held_permit(plan: Plan) -> AcquireItem:
    """What was taken for a plan that is not handed over."""
    held = AcquireItem.FromString(permit_for(plan))
    if planned_before(plan) == 0:
        held.ClearField("channels")
    return held


def planned_before(plan: Plan) -> int | None:
    """How many deliveries earlier decisions planned; None where nobody knows.

    Of a part that a router left which did not count nobody knows.
    """
    item = plan.item
    if item.HasField("deliveries"):
        return item.deliveries
    return 0 if plan.is_whole else None


def planned_so_far(plan: Plan) -> int:
    """How many deliveries are planned by this and the earlier decisions."""
    return (planned_before(plan) or 0) + _planned_now(plan)


def _planned_now(plan: Plan) -> int:
    own = 0
    for one in plan.channels:
        if one.outcome == PLANNED:
            own += len(one.targets)
    return own


def is_followed(plan: Plan) -> bool:
    """Whether channels of it may be decided later."""
    return any(one.outcome in (DEFERRED, STANDBY) for one in plan.channels)


def deliveries_to_end(plan: Plan) -> int:
    """How many deliveries have to end unsent for the permit to be given back.

    0 where there is none to give back, or nobody knows.
    """
    if plan.permit is None:
        return 0
    before = planned_before(plan)
    if before is None:
        return 0
    if plan.permit.unchecked and not before and not is_followed(plan):
        return 0
    return before + _planned_now(plan)


def part_of(plan: Plan) -> Count | None:
    """What a later part of a notification adds to the count of what ended unsent."""
    item = plan.item
    if not item.deliveries:
        return None
    return Count(
        item.tenant_id,
        item.notification_id,
        planned_so_far(plan),
        not is_followed(plan),
    )


def apply_permit(plan: Plan, permit: AcquireResult, now: datetime) -> None:
    """Takes note of what the limiter said and takes out what has no permit."""
    plan.permit = permit
    if permit.allowed and not permit.channels:
        return
    refused = {refusal.channel: refusal for refusal in permit.channels}
    for channel in plan.planned:
        refusal = refused.get(channel.channel)
        if refusal is not None:
            _refuse(plan, channel, refusal, now)
        elif not permit.allowed:
            _refuse(plan, channel, permit, now)


def _refuse(
    plan: Plan,
    channel: ChannelPlan,
    refusal: AcquireResult | ChannelRefusal,
    now: datetime,
) -> None:
    if not refusal.exceeded:
        plan.defer(channel, LIMITS_UNAVAILABLE, now + ASK_AGAIN)
        return
    reason = f"{refusal.exceeded}_limit"
    waits = plan.policy.over_limit_policy in (DEFER, DIGEST)
    if not (waits and refusal.HasField("available_time")):
        channel.object(RATE_LIMITED, reason)
        return
    # A schedule has milliseconds: the next one, so as not to come too early.
    until = refusal.available_time.ToDatetime(UTC) + timedelta(milliseconds=1)
    # A digest is not digested again: it waits.
    if plan.policy.over_limit_policy == DEFER or plan.item.HasField("digest"):
        plan.defer(channel, reason, until)
    elif plan.expiry is not None and is_over(plan.expiry, until):
        channel.object(EXPIRED, reason)
    else:
        plan.collect(channel, reason, Wait(closes=until), until)
