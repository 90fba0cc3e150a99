"""From a decision to what waits in a digest. Pure."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DIGESTED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import DigestFold, DigestStep
from clarion.router.digests import windows
from clarion.router.plan import DIGESTED, Plan
from clarion.runtime.ids import derived, event_id


def fold_of(plan: Plan) -> DigestFold | None:
    """The digested channels of a plan, where there are any."""
    channels = [
        channel.channel for channel in plan.channels if channel.outcome == DIGESTED
    ]
    if not channels or plan.wait is None:
        return None
    fold = DigestFold(
        item=plan.item,
        channels=channels,
        priority=plan.priority,
        category=plan.category,
        # The limiter is not asked about what is digested anyway.
        over_limit=plan.permit is not None,
    )
    windows.write(plan.wait, fold)
    if plan.expiry is not None:
        fold.expires_time.CopyFrom(plan.expiry)
    return fold


def step_of(fold: DigestFold) -> bytes:
    """As a step of a chunk, the same bytes every time."""
    return DigestStep(fold=fold).SerializeToString(deterministic=True)


def bucket_of(fold: DigestFold) -> str:
    """Names what is collected together, as an id of one length."""
    item = fold.item
    own = item.notification
    return derived(
        "digest bucket",
        item.tenant_id,
        "over limit" if fold.over_limit else "",
        own.user_id,
        own.type,
        fold.category,
        # The last one, as it alone may hold any character.
        own.digest_key,
    )


def digest_id(window_id: str) -> str:
    """The id of the notification that a window becomes, known from the start."""
    return derived("digest", window_id)


def digested_event(
    fold: DigestFold, window_id: str, closes: Timestamp, now: Timestamp
) -> NotificationEvent:
    """Tells where a notification went."""
    item = fold.item
    event = NotificationEvent(
        event_id=event_id(item.notification_id, DIGESTED, str(item.release)),
        tenant_id=item.tenant_id,
        notification_id=item.notification_id,
        kind=EVENT_KIND_DIGESTED,
        occurred_time=now,
        user_id=item.notification.user_id,
        type=item.notification.type,
    )
    event.digested.digest_notification_id = digest_id(window_id)
    event.digested.closes_time.CopyFrom(closes)
    return event
