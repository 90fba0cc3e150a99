"""Whether a notification can be accepted at all: the rules that a contract cannot say.

Pure. The rules of the contract itself are checked before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.router.v1.notification_type_service_pb2 import NotificationType
from clarion.router.notification_types import DEFAULT_CHANNELS, ESCALATE, TypePolicy
from clarion.runtime.errors import FieldViolation
from clarion.runtime.time_zones import REMEDY, is_time_zone

MOST_LEVELS = 16
"""How deep ``data`` may be nested. Decoders give up at 100 messages inside each other;
a level costs three, and a notification travels inside of chunks and events."""

# What the encoding of data shows without looking at each value (google.protobuf.Value).
_STRUCT_TAG = b"\x2a"
_LIST_TAG = b"\x32"
_INFINITE = re.compile(rb"\x11.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)
"""A number_value with the exponent of infinity and NaN, or bytes that look like one."""

_FIRST_SECOND = -62_135_596_800  # 0001-01-01, the range of google.protobuf.Timestamp
_LAST_SECOND = 253_402_300_799  # 9999-12-31

Object = Callable[[str, str, str], None]
"""Takes a field, what to change and the stable id of the rule."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What is accepted."""

    channels: Sequence[str]
    max_bytes: int
    max_schedule: timedelta


def objections(
    notification: Notification,
    limits: AdmissionLimits,
    now: datetime,
    path: str,
    policy: TypePolicy | None = None,
    encoded: bytes | None = None,
) -> list[FieldViolation]:
    """What stands against accepting it; ``path`` is where the notification stands.

    ``policy`` is that of its type, where the type is known; ``encoded`` is the
    notification, where the caller has it like this.
    """
    found: list[FieldViolation] = []

    def object_to(field: str, description: str, rule: str) -> None:
        found.append(FieldViolation(f"{path}.{field}", description, rule))

    if encoded is None:
        encoded = notification.SerializeToString()
    size = len(encoded)
    if size > limits.max_bytes:
        object_to(
            _largest_field(notification),
            f"the notification has {size} bytes, at most {limits.max_bytes} are "
            "accepted: shorten this field, the largest",
            "size",
        )
        return found
    for index, channel in enumerate(notification.channels):
        if channel not in limits.channels:
            known = ", ".join(limits.channels)
            object_to(
                f"channels[{index}]",
                f"is not a channel of this mesh: use {known}",
                "channel.unknown",
            )
    if not (
        notification.template_id
        or notification.title
        or notification.message
        or (policy is not None and policy.has_template)
    ):
        object_to(
            "title",
            "is required: give title, message or template_id",
            "title.required",
        )
    if notification.strategy == ESCALATE:
        channels = notification.channels or (
            policy.channels if policy is not None else DEFAULT_CHANNELS
        )
        if len(channels) < 2:
            object_to(
                "channels",
                "an escalation needs two channels or more",
                "escalate.channels",
            )
    if not _is_harmless(encoded) and notification.HasField("data"):
        _judge_data(notification.data, object_to)
    judge_send_window(notification, object_to)
    judge_times(notification, limits.max_schedule, now, object_to)
    return found


def seconds(instant: Timestamp) -> float:
    """A Timestamp as seconds since 1970."""
    return instant.seconds + instant.nanos / 1e9


def judge_send_window(
    given: Notification | NotificationType, object_to: Object
) -> None:
    """Objects to a time zone that there is not; the contract has the other rules."""
    if given.HasField("send_window"):
        zone = given.send_window.timezone
        if zone and not is_time_zone(zone):
            object_to("send_window.timezone", REMEDY, "timezone.known")


def judge_times(
    notification: Notification, most: timedelta, now: datetime, object_to: Object
) -> None:
    """Objects to instants that cannot be, are too far ahead or in the wrong order."""
    has_schedule = notification.HasField("scheduled_at")
    has_expiry = notification.HasField("expires_at")
    if not (has_schedule or has_expiry):
        return
    for field, instant in (
        ("scheduled_at", notification.scheduled_at),
        ("expires_at", notification.expires_at),
    ):
        # A client that sets the two numbers by itself can make what is no instant.
        if not (
            _FIRST_SECOND <= instant.seconds <= _LAST_SECOND
            and 0 <= instant.nanos < 1_000_000_000
        ):
            object_to(
                field,
                "is not an instant: seconds within the years 1 to 9999, nanos from 0 "
                "to 999,999,999",
                "instant",
            )
            return
    start = now.timestamp()
    if has_schedule:
        start = max(start, seconds(notification.scheduled_at))
        if start > (now + most).timestamp():
            object_to(
                "scheduled_at",
                f"lies more than {most.days} days ahead",
                "scheduled_at.too_late",
            )
    if has_expiry and seconds(notification.expires_at) <= start:
        object_to(
            "expires_at",
            "must lie after now and after scheduled_at",
            "expires_at.too_early",
        )


def _judge_data(data: Struct, object_to: Object) -> None:
    if _is_harmless(data.SerializeToString()):
        return
    level: list[Value] = list(data.fields.values())
    for _ in range(MOST_LEVELS):
        deeper: list[Value] = []
        for value in level:
            kind = value.WhichOneof("kind")
            if kind == "number_value":
                if not math.isfinite(value.number_value):
                    object_to(
                        "data",
                        "holds a number that JSON cannot write (NaN or infinity)",
                        "data.finite",
                    )
                    return
            elif kind in ("struct_value", "list_value"):
                deeper.extend(_inside(value))
        if not deeper:
            return
        level = deeper
    object_to("data", f"is nested more than {MOST_LEVELS} levels deep", "data.depth")


def _is_harmless(encoded: bytes) -> bool:
    """Whether data surely has few levels, and numbers that JSON can write.

    Each level takes a tag of an object or list. Texts and what stands around the data
    have these bytes as well, so it may say no without reason.
    """
    tags = encoded.count(_STRUCT_TAG) + encoded.count(_LIST_TAG)
    return tags < MOST_LEVELS and _INFINITE.search(encoded) is None


def _inside(value: Value) -> Sequence[Value]:
    inner: ListValue | Struct
    if value.HasField("list_value"):
        inner = value.list_value
        return inner.values
    inner = value.struct_value
    return list(inner.fields.values())


def _largest_field(notification: Notification) -> str:
    def size_without(name: str) -> int:
        rest = Notification()
        rest.CopyFrom(notification)
        rest.ClearField(name)  # type: ignore[arg-type]
        return rest.ByteSize()

    return min((field.name for field, _ in notification.ListFields()), key=size_without)
