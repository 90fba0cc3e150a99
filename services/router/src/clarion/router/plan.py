"""What is decided about one notification, as far as it is decided. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.work_pb2 import IntakeItem, Target
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireResult
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.router.admission import seconds
from clarion.router.digests.windows import Wait
from clarion.router.notification_types import ALL, TypePolicy
from clarion.router.send_windows import SendWindow

PLANNED = "planned"
SKIPPED = "skipped"
SUPPRESSED = "suppressed"
EXPIRED = "expired"
RATE_LIMITED = "rate_limited"
DEFERRED = "deferred"
DIGESTED = "digested"
FAILED = "failed"
STANDBY = "standby"


@dataclass(slots=True)
class ChannelPlan:
    """What happens on one channel."""

    channel: str
    outcome: str = PLANNED
    reason: str = ""
    targets: list[Target] = field(default_factory=list)
    release_time: datetime | None = None
    """When it is decided anew, where it is deferred; when its digest closes."""

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
    policy: TypePolicy
    expiry: Timestamp | None = None
    """After this instant it is not sent any more."""
    window: SendWindow | None = None
    """When channels that disturb are used; any time where there is none."""
    permit: AcquireResult | None = None
    """What the limiter said, where it was asked."""
    strategy: str = ALL
    """How the channels are used; with another than ``all`` in their order."""
    escalate_time: datetime | None = None
    """When the next channel is used as well, where an escalation goes on."""
    fallback: bytes = b""
    """What is decided when nothing of a chain's channel is sent: an IntakeItem."""
    wait: Wait | None = None
    """How long it waits for others, where it becomes part of a digest."""
    notification: Notification = field(init=False)
    """What of the item is asked for at every turn, read once: a message looks up each
    of its fields every time."""
    notification_id: str = field(init=False)
    user_id: str = field(init=False)
    type: str = field(init=False)
    data: bytes | None = field(init=False, default=None)
    """The notification's data, encoded, where it has some."""

    def __post_init__(self) -> None:
        item = self.item
        self.notification = notification = item.notification
        self.notification_id = item.notification_id
        self.user_id = notification.user_id
        self.type = notification.type
        if notification.HasField("data"):
            self.data = notification.data.SerializeToString()

    @property
    def is_collected(self) -> bool:
        """Whether its type sends it with others, and it is not those already."""
        return self.policy.digest is not None and not self.item.HasField("digest")

    @property
    def planned(self) -> list[ChannelPlan]:
        """The channels that something is sent on."""
        return [plan for plan in self.channels if plan.outcome == PLANNED]

    @property
    def is_ordered(self) -> bool:
        """Whether it waits for the person's earlier ones of its type."""
        return self.policy.ordered or self.item.ordered

    @property
    def is_whole(self) -> bool:
        """Whether no channel was decided for good by an earlier release."""
        waited = self.item.channels
        asked = self.item.notification.channels or self.policy.channels
        return not waited or len(waited) >= len(asked)

    @property
    def escalate_until(self) -> str:
        """What stops an escalation: that it began with, whatever its type says now."""
        return self.item.escalation.until or self.policy.escalate_until

    @property
    def standing_by(self) -> list[str]:
        """The channels that are used when those before them do not do."""
        return [plan.channel for plan in self.channels if plan.outcome == STANDBY]

    def stand_by(self, *used: str) -> None:
        """Has all channels stand by behind the first one with such an outcome."""
        is_behind = False
        for channel in self.channels:
            if is_behind:
                channel.object(STANDBY, self.strategy)
                channel.release_time = None
            elif channel.outcome in used:
                is_behind = True

    def object(self, outcome: str, reason: str) -> None:
        """Takes every channel that is still planned out of the plan."""
        for plan in self.planned:
            plan.object(outcome, reason)

    @property
    def is_plain(self) -> bool:
        """Whether every channel is planned, so that there is nothing to explain."""
        return not [True for channel in self.channels if channel.outcome != PLANNED]

    @property
    def is_obvious(self) -> bool:
        """Whether nobody said anything that speaks for or against it: not the person,
        nor the type, and it was not decided before."""
        profile, policy = self.profile, self.policy
        return not (
            self.item.release
            or profile.preferences.version
            or profile.consents
            or profile.suppressions
            or self.window
            or policy.critical
            or policy.limits
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The type and the category, by which preferences speak of it."""
        if self.type == self.category:
            return (self.type,)
        return self.type, self.category

    def collect(
        self, channel: ChannelPlan, reason: str, wait: Wait, closes: datetime
    ) -> None:
        """Lets the channel wait for others, with the shortest of the plan's waits."""
        channel.object(DIGESTED, reason)
        channel.release_time = closes
        if self.wait is None or (
            wait.closes is not None
            and self.wait.closes is not None
            and wait.closes < self.wait.closes
        ):
            self.wait = wait

    def defer(self, channel: ChannelPlan, reason: str, until: datetime) -> None:
        """Lets the channel wait, unless it would expire meanwhile."""
        if self.expiry is not None and is_over(self.expiry, until):
            channel.object(EXPIRED, reason)
            return
        channel.object(DEFERRED, reason)
        channel.release_time = until


def is_over(instant: Timestamp, now: datetime) -> bool:
    """Whether a protobuf Timestamp lies at or before ``now``."""
    return seconds(instant) <= now.timestamp()
