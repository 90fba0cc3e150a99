"""The permits that a plan needs of the limiter, and what its answer does. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    AcquireItem,
    AcquireResult,
    ChannelRefusal,
)
from clarion.router.deciding import (
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
from clarion.router.digests.windows import Wait
from clarion.router.notification_types import DEFER, DIGEST

LIMITS_UNAVAILABLE = "limits_unavailable"
"""The reason of what waits until its limits can be counted."""
ASK_AGAIN = timedelta(seconds=30)
"""How long it waits."""


def permit_for(plan: Plan) -> AcquireItem:
    """The permit that a plan needs: one a notification, and for its channels."""
    item = plan.item
    notification = item.notification
    permit = AcquireItem(
        request_id=item.notification_id,
        user_id=notification.user_id,
        category=plan.category,
        type=notification.type,
        channels=[channel.channel for channel in plan.planned],
    )
    if plan.policy.limits:
        permit.type_limits.windows.extend(plan.policy.limits)
    limits = plan.profile.preferences.frequency_limits
    if limits:
        if plan.category in limits:
            permit.personal_limit.CopyFrom(limits[plan.category])
        if notification.type != plan.category and notification.type in limits:
            own = limits[notification.type]
            permit.type_limits.personal_limit.CopyFrom(own)
    return permit


def unused_permit(plan: Plan) -> AcquireItem | None:
    """What was taken for channels that then could not be rendered or stand by.

    All of it when no channel is sent on; where only some of the channels were
    released, the others may have used it.
    """
    failed = [one.channel for one in plan.channels if one.outcome in (FAILED, STANDBY)]
    if not failed or plan.permit is None or plan.permit.unchecked:
        return None
    unused = permit_for(plan)
    unused.channels[:] = [] if plan.is_whole and not plan.planned else failed
    return unused


def planned_together(plan: Plan) -> int:
    """How many deliveries have to end unsent for the permit to be given back.

    0 where there is none to give back, or where other channels may use it.
    """
    if plan.permit is None or plan.permit.unchecked or not plan.is_whole:
        return 0
    count = 0
    for channel in plan.channels:
        if channel.outcome == PLANNED:
            count += len(channel.targets)
        elif channel.outcome in (DEFERRED, STANDBY):
            return 0
    return count


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
