"""Building a notification from plain Python values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from clarion.api.router.v1.notification_pb2 import Notification


def notification(
    user_id: str,
    type: str,
    *,
    title: str = "",
    message: str = "",
    channels: Iterable[str] = (),
    data: Mapping[str, Any] | None = None,
    priority: str = "",
    scheduled_at: datetime | None = None,
    expires_at: datetime | None = None,
    **more: Any,
) -> Notification:
    """A Notification; ``more`` are its other fields, such as ``template_id``.

    Raises ValueError for a time without a zone and for a field that does not exist.
    """
    built = Notification(
        user_id=user_id,
        type=type,
        title=title,
        message=message,
        channels=channels,
        priority=priority,
        **more,
    )
    if data is not None:
        built.data.update(data)
    for field, instant in (("scheduled_at", scheduled_at), ("expires_at", expires_at)):
        if instant is None:
            continue
        if instant.tzinfo is None:
            raise ValueError(f"{field} needs a time zone")
        getattr(built, field).FromDatetime(instant)
    return built
