"""Whether a notification can be accepted at all: the rules that a contract cannot say.

Pure. The rules of the contract itself are checked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.runtime.errors import FieldViolation


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What is accepted."""

    channels: Sequence[str]
    max_bytes: int
    max_schedule: timedelta


def objections(
    notification: Notification, limits: AdmissionLimits, now: datetime, path: str
) -> list[FieldViolation]:
    """What stands against accepting it; ``path`` is where the notification stands."""
    found: list[FieldViolation] = []

    def object_to(field: str, description: str, reason: str) -> None:
        found.append(FieldViolation(f"{path}.{field}", description, reason))

    size = notification.ByteSize()
    if size > limits.max_bytes:
        largest = max(
            (field for field, _ in notification.ListFields()),
            key=lambda field: _size_of(notification, field.name),
        )
        object_to(
            largest.name,
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
    if not (notification.template_id or notification.title or notification.message):
        object_to(
            "title",
            "is required: give title, message or template_id",
            "title.required",
        )
    if notification.HasField("scheduled_at"):
        latest = now + limits.max_schedule
        if _seconds(notification.scheduled_at) > latest.timestamp():
            object_to(
                "scheduled_at",
                f"lies more than {limits.max_schedule.days} days ahead",
                "scheduled_at.too_late",
            )
    if notification.HasField("expires_at"):
        start = max(
            now.timestamp(),
            _seconds(notification.scheduled_at)
            if notification.HasField("scheduled_at")
            else 0.0,
        )
        if _seconds(notification.expires_at) <= start:
            object_to(
                "expires_at",
                "must lie after now and after scheduled_at",
                "expires_at.too_early",
            )
    return found


def _seconds(instant: Timestamp) -> float:
    return instant.seconds + instant.nanos / 1e9


def _size_of(notification: Notification, field: str) -> int:
    alone = Notification()
    value = getattr(notification, field)
    if field == "tags":
        alone.tags.update(value)
    elif field == "channels":
        alone.channels.extend(value)
    elif hasattr(value, "CopyFrom"):
        getattr(alone, field).CopyFrom(value)
    else:
        setattr(alone, field, value)
    return alone.ByteSize()
