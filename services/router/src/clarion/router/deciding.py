"""Who gets a notification, on which channel, and why not. Pure.

Rules are looked at in this order; the first that objects gives the reason: expiry, a
person that is not known, the switches (wishes.py), consent that was taken back, quiet
hours, the sender's window, an address, suppression. Of a critical type switches,
consent and quiet hours are not looked at, and mail of it goes to an address that is
suppressed because its owner unsubscribed.

What becomes part of a digest disturbs nobody yet: quiet hours, windows and limits are
looked at when the digest is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.work_pb2 import IntakeItem, Target
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.router.admission import seconds
from clarion.router.consent import WITHDRAWN, is_withdrawn
from clarion.router.digests.windows import wait_of
from clarion.router.notification_types import (
    ALL,
    DEFER,
    DIGEST,
    IGNORE,
    TypePolicy,
    policy_for,
)
from clarion.router.plan import (
    DEFERRED,
    EXPIRED,
    PLANNED,
    SKIPPED,
    SUPPRESSED,
    ChannelPlan,
    Plan,
    is_over,
)
from clarion.router.quiet_hours import QUIET_CHANNELS, is_quiet, quiet_until
from clarion.router.send_windows import SendWindow, first_chance, window_of
from clarion.router.wishes import unwanted

QUIET_HOURS = "quiet_hours"
SEND_WINDOW = "send_window"
NEVER_IN_WINDOW = "send_window_never_open"
"""No moment of the window is free of quiet hours."""
UNSUBSCRIBED = "unsubscribe"


def decide(
    item: IntakeItem,
    profile: RecipientProfile,
    now: datetime,
    policy: TypePolicy | None = None,
) -> Plan:
    """Judges one notification for one person at one instant.

    Without a policy the one that its type has by itself.
    """
    notification = item.notification
    if policy is None:
        policy = policy_for(notification.type)
    plan = Plan(
        item=item,
        category=notification.category or policy.category,
        priority=notification.priority or policy.priority,
        profile=profile,
        channels=[
            ChannelPlan(channel)
            for channel in (item.release and item.channels)
            or notification.channels
            or policy.channels
        ],
        policy=policy,
        expiry=_expiry(item, policy),
        window=window_of(notification.send_window)
        if notification.HasField("send_window")
        else policy.send_window,
        strategy=notification.strategy or policy.strategy,
    )
    if plan.expiry is not None and is_over(plan.expiry, now):
        plan.object(EXPIRED, "expired")
        return plan
    if not profile.found:
        plan.object(SKIPPED, "unknown_recipient")
        return plan
    if policy.digest is None or not plan.is_collected:
        _judge(plan, now)
        if plan.strategy != ALL:
            plan.stand_by(DEFERRED)
        return plan
    plan.window = None
    _judge(plan, now)
    wait = wait_of(policy.digest, profile.recipient.time_zone, now)
    closes = wait.span(now).closes
    for channel in plan.planned:
        plan.collect(channel, DIGEST, wait, closes)
    return plan


def _expiry(item: IntakeItem, policy: TypePolicy) -> Timestamp | None:
    notification = item.notification
    stated = notification.expires_at if notification.HasField("expires_at") else None
    if policy.time_to_live is None:
        return stated
    begin = item.accepted_time
    if notification.HasField("scheduled_at"):
        # What is scheduled for later lives from then on.
        begin = max(begin, notification.scheduled_at, key=seconds)
    expiry = Timestamp()
    expiry.FromDatetime(begin.ToDatetime(UTC) + policy.time_to_live)
    return expiry if stated is None else min(expiry, stated, key=seconds)


def _judge(plan: Plan, now: datetime) -> None:
    profile = plan.profile
    # Of most people there is nothing to look at, and it is seen at once.
    has_wishes = not plan.policy.critical and (
        profile.preferences.ByteSize() > 0 or bool(profile.consents)
    )
    has_suppressions = bool(profile.suppressions)
    for channel in plan.channels:
        if has_wishes:
            _hear(plan, channel, now)
        if plan.window is not None and channel.outcome == PLANNED:
            _wait_for_window(plan, plan.window, channel, now)
        if channel.outcome != PLANNED:
            continue
        channel.targets = _targets(plan, channel.channel)
        if not channel.targets:
            channel.object(SKIPPED, "no_address")
        elif has_suppressions:
            _drop_suppressed(plan, channel)


def _hear(plan: Plan, channel: ChannelPlan, now: datetime) -> None:
    """Takes the channel out of the plan where the person does not want it now."""
    reason = unwanted(plan.profile.preferences, plan.names, channel.channel)
    if reason:
        channel.object(SKIPPED, reason)
        return
    consents = plan.profile.consents
    if consents and is_withdrawn(consents, plan.names, channel.channel):
        channel.object(SKIPPED, WITHDRAWN)
        return
    if _is_quiet(plan, channel.channel, now):
        _rest(plan, channel, now)


def _wait_for_window(
    plan: Plan, window: SendWindow, channel: ChannelPlan, now: datetime
) -> None:
    if channel.channel not in QUIET_CHANNELS:
        return
    chance = _first_chance(plan, window, now)
    if chance is None:
        channel.object(SKIPPED, NEVER_IN_WINDOW)
    elif chance > now:
        plan.defer(channel, SEND_WINDOW, chance)


def _is_quiet(plan: Plan, channel: str, now: datetime) -> bool:
    """Whether the channel would disturb the person now."""
    preferences = plan.profile.preferences
    return (
        plan.priority != "high"
        and channel in QUIET_CHANNELS
        and plan.policy.quiet_hours_policy != IGNORE
        and preferences.HasField("quiet_hours")
        and is_quiet(preferences.quiet_hours, plan.profile.recipient.time_zone, now)
        and not plan.is_collected
    )


def _rest(plan: Plan, channel: ChannelPlan, now: datetime) -> None:
    until = None
    if plan.policy.quiet_hours_policy == DEFER:
        profile = plan.profile
        until = quiet_until(
            profile.preferences.quiet_hours, profile.recipient.time_zone, now
        )
    if until is None:
        channel.object(SKIPPED, QUIET_HOURS)
        return
    if plan.window is not None:
        until = _first_chance(plan, plan.window, until)
    if until is None:
        channel.object(SKIPPED, NEVER_IN_WINDOW)
    else:
        plan.defer(channel, QUIET_HOURS, until)


def _first_chance(plan: Plan, window: SendWindow, now: datetime) -> datetime | None:
    """When a channel that disturbs may be used, as far as times of day say."""
    preferences = plan.profile.preferences
    waits = (
        plan.policy.quiet_hours_policy == DEFER
        and plan.priority != "high"
        and not plan.policy.critical
        and preferences.HasField("quiet_hours")
    )
    return first_chance(
        window,
        preferences.quiet_hours if waits else None,
        plan.profile.recipient.time_zone,
        now,
    )


def _targets(plan: Plan, channel: str) -> list[Target]:
    recipient = plan.profile.recipient
    if channel == "push":
        return [
            Target(
                address=device.token,
                platform=device.platform,
                device_id=device.device_id,
                app_id=device.app_id,
            )
            for device in recipient.devices
        ]
    if channel == "email" and recipient.email:
        return [Target(address=recipient.email, display_name=recipient.display_name)]
    if channel == "sms" and recipient.phone_number:
        return [Target(address=recipient.phone_number)]
    if channel == "in_app":
        return [Target(address=plan.user_id)]
    return []


def passes_unsubscribed(plan: Plan, channel: str) -> bool:
    """Whether an address whose owner unsubscribed is written to all the same.

    So the law allows for mail that somebody needs (a receipt, a security notice), and
    for nothing else: not after STOP, a complaint or a bounce, and on no other channel.
    """
    return plan.policy.critical and channel == "email"


def _drop_suppressed(plan: Plan, channel: ChannelPlan) -> None:
    passing = UNSUBSCRIBED if passes_unsubscribed(plan, channel.channel) else None
    suppressed = {
        entry.address: entry.reason
        for entry in plan.profile.suppressions
        if entry.channel == channel.channel and entry.reason != passing
    }
    if not suppressed:
        return
    reason = ""
    kept = []
    for target in channel.targets:
        is_mail = channel.channel == "email"
        address = target.address.lower() if is_mail else target.address
        if address in suppressed:
            reason = suppressed[address]
        else:
            kept.append(target)
    channel.targets[:] = kept
    if not kept:
        channel.object(SUPPRESSED, reason)
