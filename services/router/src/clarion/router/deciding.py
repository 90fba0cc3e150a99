"""Who gets a notification, on which channel, and why not. Pure.

Rules are looked at in this order; the first that objects gives the reason: expiry, a
person that is not known, the channel's switch, the category's switch, the category's
switch for that channel, quiet hours, an address, suppression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.work_pb2 import IntakeItem, Target
from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.router.admission import seconds
from clarion.router.notification_types import policy_for
from clarion.router.quiet_hours import QUIET_CHANNELS, is_quiet

PLANNED = "planned"
SKIPPED = "skipped"
SUPPRESSED = "suppressed"
EXPIRED = "expired"
RATE_LIMITED = "rate_limited"
FAILED = "failed"


@dataclass(slots=True)
class ChannelPlan:
    """What happens on one channel."""

    channel: str
    outcome: str = PLANNED
    reason: str = ""
    targets: list[Target] = field(default_factory=list)

    def object(self, outcome: str, reason: str) -> None:
        """Takes the channel out of the plan."""
        self.outcome, self.reason = outcome, reason
        self.targets.clear()


@dataclass(slots=True)
class Plan:
    """What happens with one notification."""

    item: IntakeItem
    category: str
    priority: str
    profile: RecipientProfile
    channels: list[ChannelPlan]

    @property
    def planned(self) -> list[ChannelPlan]:
        """The channels that something is sent on."""
        return [plan for plan in self.channels if plan.outcome == PLANNED]

    def object(self, outcome: str, reason: str) -> None:
        """Takes every channel that is still planned out of the plan."""
        for plan in self.planned:
            plan.object(outcome, reason)


def decide(item: IntakeItem, profile: RecipientProfile, now: datetime) -> Plan:
    """Judges one notification for one person at one instant."""
    notification = item.notification
    policy = policy_for(notification.type)
    plan = Plan(
        item=item,
        category=notification.category or policy.category,
        priority=notification.priority or policy.priority,
        profile=profile,
        channels=[
            ChannelPlan(channel) for channel in notification.channels or policy.channels
        ],
    )
    if notification.HasField("expires_at") and is_over(notification.expires_at, now):
        plan.object(EXPIRED, "expired")
    elif not profile.found:
        plan.object(SKIPPED, "unknown_recipient")
    else:
        for channel in plan.channels:
            _judge(plan, channel, now)
    return plan


def is_over(instant: Timestamp, now: datetime) -> bool:
    """Whether a protobuf Timestamp lies at or before ``now``."""
    return seconds(instant) <= now.timestamp()


def _judge(plan: Plan, channel: ChannelPlan, now: datetime) -> None:
    preferences = plan.profile.preferences
    reason = _unwanted(preferences, plan, channel.channel)
    if reason:
        channel.object(SKIPPED, reason)
        return
    if (
        plan.priority != "high"
        and channel.channel in QUIET_CHANNELS
        and preferences.HasField("quiet_hours")
        and is_quiet(preferences.quiet_hours, plan.profile.recipient.time_zone, now)
    ):
        channel.object(SKIPPED, "quiet_hours")
        return
    channel.targets.extend(_targets(plan, channel.channel))
    if not channel.targets:
        channel.object(SKIPPED, "no_address")
        return
    _drop_suppressed(plan, channel)


def _unwanted(preferences: Preferences, plan: Plan, channel: str) -> str:
    """The switch that is off, or nothing."""
    switch = _SWITCHES.get(channel)
    if (
        switch is not None
        and not getattr(preferences, switch)
        and preferences.HasField(switch)  # type: ignore[arg-type]
    ):
        return "channel_disabled"
    type_ = plan.item.notification.type
    names = (plan.category,) if type_ == plan.category else (type_, plan.category)
    categories = preferences.categories
    if categories:
        for name in names:
            if not categories.get(name, True):
                return "category_disabled"
    by_category = preferences.category_channels
    if by_category:
        for name in names:
            # Asked first: looking up a map of messages adds what is not there.
            if name in by_category and not by_category[name].channels.get(
                channel, True
            ):
                return "category_channel_disabled"
    return ""


_SWITCHES = {
    name.removesuffix("_enabled"): name
    for name in Preferences.DESCRIPTOR.fields_by_name
    if name.endswith("_enabled")
}


def _targets(plan: Plan, channel: str) -> Sequence[Target]:
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
        return [Target(address=plan.item.notification.user_id)]
    return []


def _drop_suppressed(plan: Plan, channel: ChannelPlan) -> None:
    suppressed = {
        entry.address: entry.reason
        for entry in plan.profile.suppressions
        if entry.channel == channel.channel
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
