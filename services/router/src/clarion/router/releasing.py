"""What is deferred waits in SCHED and is decided anew when it is released. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DEFERRED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.notification_types import ALL
from clarion.router.plan import DEFERRED, STANDBY, Plan
from clarion.router.strategies.chain import RELEASE as CAUSE
from clarion.router.strategies.chain import count_on, following
from clarion.runtime import chunks
from clarion.runtime.ids import event_id
from clarion.runtime.streams import INTAKE, due_subject, later_subject

RELEASE = "release"
"""The kind of schedule: one for each notification that waits."""


@dataclass(frozen=True, slots=True)
class Release:
    """The deferred channels of one notification, ready to be scheduled and told."""

    subject: str
    target: str
    due: datetime
    body: bytes
    message_id: str
    event: NotificationEvent


def release_of(plan: Plan, now: Timestamp) -> Release | None:
    """The release of a plan's deferred channels, where there are any.

    All of them are released at the earliest of their times: what is not due then is
    deferred once more. The same decision gives the same release, whenever it is made.
    """
    waiting = [channel for channel in plan.channels if channel.outcome == DEFERRED]
    due = min(
        (channel.release_time for channel in waiting if channel.release_time),
        default=None,
    )
    if due is None:
        return None
    item = plan.item
    if plan.strategy == ALL:
        later = IntakeItem()
        later.CopyFrom(item)
        later.release = item.release + 1
        later.channels[:] = [channel.channel for channel in waiting]
        count_on(plan, later)
    else:
        # Who stands by comes along: it is used if those before it then do not do.
        later = following(
            plan,
            CAUSE,
            [c.channel for c in plan.channels if c.outcome in (DEFERRED, STANDBY)],
        )
    event = NotificationEvent(
        event_id=event_id(item.notification_id, DEFERRED, str(item.release)),
        tenant_id=item.tenant_id,
        notification_id=item.notification_id,
        kind=EVENT_KIND_DEFERRED,
        occurred_time=now,
        user_id=item.notification.user_id,
        type=item.notification.type,
        reason=waiting[0].reason,
    )
    event.postponed.due_time.FromDatetime(due)
    event.postponed.notification.CopyFrom(item.notification)
    event.postponed.accepted_time.CopyFrom(item.accepted_time)
    return Release(
        subject=release_subject(item.tenant_id, item.notification_id),
        target=due_subject(INTAKE, plan.priority),
        due=due,
        body=chunks.join([later.SerializeToString(deterministic=True)]),
        message_id=f"{item.notification_id}:{later.release}",
        event=event,
    )


def release_subject(tenant: str, notification_id: str) -> str:
    """The schedule that a deferred notification waits in."""
    return later_subject(RELEASE, tenant, notification_id)
