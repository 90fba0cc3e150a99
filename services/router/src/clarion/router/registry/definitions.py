"""What a registered type says: checked, completed and turned into a policy. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from clarion.api.router.v1.notification_type_service_pb2 import NotificationType
from clarion.router.admission import Object, judge_send_window
from clarion.router.notification_types import (
    ALL,
    DEFER,
    DROP,
    ESCALATE,
    ESCALATE_AFTER,
    UNTIL_READ,
    TypePolicy,
    policy_for,
)
from clarion.router.registry import digests
from clarion.router.send_windows import window_of
from clarion.runtime.errors import FieldViolation
from clarion.runtime.streams import LANES

LONGEST_LIFE = timedelta(days=5 * 366)
SHORTEST_STEP = timedelta(seconds=1)
LONGEST_STEP = timedelta(days=30)
_TEMPLATE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PATH = "notification_type"


def completed(type_: str, given: NotificationType) -> NotificationType:
    """The definition with its name and with the defaults for what it leaves open."""
    full = NotificationType()
    full.CopyFrom(given)
    full.type = type_
    built_in = policy_for(type_)
    full.category = given.category or built_in.category
    full.channels[:] = given.channels or built_in.channels
    full.priority = given.priority or built_in.priority
    full.strategy = given.strategy or ALL
    if full.strategy == ESCALATE:
        full.escalate_until = given.escalate_until or UNTIL_READ
        if not given.HasField("escalate_after"):
            full.escalate_after.FromTimedelta(ESCALATE_AFTER)
    full.quiet_hours_policy = given.quiet_hours_policy or DEFER
    full.over_limit_policy = given.over_limit_policy or DROP
    digests.complete(full)
    return full


def built_in(type_: str) -> NotificationType:
    """The definition of a type that the tenant says nothing about."""
    return completed(type_, NotificationType())


def policy_of(full: NotificationType) -> TypePolicy:
    """What routing needs of a completed definition."""
    lives = None
    if full.HasField("time_to_live"):
        lives = full.time_to_live.ToTimedelta()
    return TypePolicy(
        category=full.category,
        channels=tuple(full.channels),
        priority=full.priority,
        critical=full.critical,
        time_to_live=lives,
        quiet_hours_policy=full.quiet_hours_policy,
        over_limit_policy=full.over_limit_policy,
        limits=tuple(full.limits),
        ordered=full.ordered,
        send_window=window_of(full.send_window)
        if full.HasField("send_window")
        else None,
        template_id=full.template_id,
        channel_templates=dict(full.channel_templates),
        digest=digests.policy_of(full),
        strategy=full.strategy,
        escalate_after=(
            full.escalate_after.ToTimedelta()
            if full.HasField("escalate_after")
            else ESCALATE_AFTER
        ),
        escalate_until=full.escalate_until or UNTIL_READ,
    )


def objections(
    type_: str, given: NotificationType, channels: Sequence[str]
) -> list[FieldViolation]:
    """What stands against storing it; ``channels`` are those of the mesh."""
    found: list[FieldViolation] = []

    def object_to(field: str, description: str, rule: str) -> None:
        found.append(FieldViolation(f"{_PATH}.{field}", description, rule))

    if given.type not in ("", type_):
        object_to("type", "differs from the name in the request", "type.same")
    known = ", ".join(channels)
    for index, channel in enumerate(given.channels):
        if channel not in channels:
            object_to(
                f"channels[{index}]",
                f"is not a channel of this mesh: use {known}",
                "channel.unknown",
            )
        elif channel in given.channels[:index]:
            object_to(f"channels[{index}]", "is named twice", "channels.unique")
    if given.priority not in ("", *LANES):
        object_to("priority", "must be low, medium or high", "string.in")
    if given.HasField("time_to_live"):
        lives = given.time_to_live
        whole = lives.seconds + lives.nanos / 1e9
        if not 0 < whole <= LONGEST_LIFE.total_seconds():
            object_to(
                "time_to_live",
                f"must be more than nothing and at most {LONGEST_LIFE.days} days",
                "duration.range",
            )
    for index, window in enumerate(given.limits):
        if not window.HasField("most"):
            text = "is missing: say how many at most, 0 is none at all"
            object_to(f"limits[{index}].most", text, "required")
    judge_send_window(given, object_to)
    _judge_strategy(completed(type_, given), object_to)
    _judge_templates(given, channels, object_to)
    digests.judge(given, object_to)
    return found


def _judge_strategy(full: NotificationType, object_to: Object) -> None:
    if full.strategy == ESCALATE and len(full.channels) < 2:
        object_to(
            "channels",
            "an escalation needs two channels or more",
            "escalate.channels",
        )
    if full.HasField("escalate_after"):
        step = full.escalate_after
        whole = step.seconds + step.nanos / 1e9
        if not SHORTEST_STEP.total_seconds() <= whole <= LONGEST_STEP.total_seconds():
            object_to(
                "escalate_after",
                f"must be from {SHORTEST_STEP.seconds} second to "
                f"{LONGEST_STEP.days} days",
                "duration.range",
            )


def _judge_templates(
    given: NotificationType, channels: Sequence[str], object_to: Object
) -> None:
    if given.template_id and not _TEMPLATE_ID.fullmatch(given.template_id):
        object_to("template_id", "is not the id of a template", "string.pattern")
    for channel, template_id in sorted(given.channel_templates.items()):
        field = f'channel_templates["{channel}"]'
        if channel not in channels:
            known = ", ".join(channels)
            object_to(
                field, f"is not a channel of this mesh: use {known}", "channel.unknown"
            )
        elif not _TEMPLATE_ID.fullmatch(template_id):
            object_to(field, "is not the id of a template", "string.pattern")
