"""Which channel of a chain is used, and what is decided after it. Pure.

A chain is a notification whose channels are used in their order: ``first_available``
or ``escalate``. Every decision about it is a release of its own, about the channels
that were still standing by.
"""

from __future__ import annotations

from datetime import datetime

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.deliveries import Rendered, content_of
from clarion.router.notification_types import ALL, ESCALATE
from clarion.router.permits import planned_before, planned_so_far
from clarion.router.plan import DEFERRED, PLANNED, ChannelPlan, Plan
from clarion.runtime.streams import later_subject

TIMER = "timer"
"""The deadline of the step before is over."""
FALLBACK = "fallback"
"""Nothing of the step before could be sent."""
RELEASE = "release"
"""The step was deferred."""

ESCALATION = "escalate"
"""The kind of schedule: one for each notification, the timer of its latest step."""


def escalation_subject(tenant: str, notification_id: str) -> str:
    """The schedule that the timer of an escalation waits in."""
    return later_subject(ESCALATION, tenant, notification_id)


def is_chain(plan: Plan) -> bool:
    """Whether the channels are used one after the other."""
    return plan.strategy != ALL


def use_first(plan: Plan, rendered: Rendered) -> None:
    """Uses the first channel of a chain that can be rendered or waits."""
    for channel in plan.channels:
        if channel.outcome == DEFERRED:
            break
        if content_of(plan, channel, rendered) is not None:
            break
    plan.stand_by(PLANNED, DEFERRED)


def used(plan: Plan) -> ChannelPlan | None:
    """The channel that a chain uses now, where it sends or will send at all."""
    for channel in plan.channels:
        if channel.outcome in (PLANNED, DEFERRED):
            return channel
    return None


def escalates(plan: Plan) -> bool:
    """Whether the next channel is used as well when the person is not reached."""
    return plan.strategy == ESCALATE and bool(plan.planned and plan.standing_by)


def next_step(plan: Plan, cause: str, deadline: datetime | None = None) -> IntakeItem:
    """The decision about the channels that stand by, as it is taken later."""
    later = following(plan, cause, plan.standing_by)
    if deadline is not None:
        later.escalation.deadline.FromDatetime(deadline)
    return later


def following(plan: Plan, cause: str, channels: list[str]) -> IntakeItem:
    """The release after this one, about these channels, by the same strategy."""
    item = plan.item
    later = IntakeItem()
    later.CopyFrom(item)
    later.release = item.release + 1
    later.channels[:] = channels
    later.ClearField("escalation")
    count_on(plan, later)
    # The type may be another one by then; a chain that was begun is ended as such.
    later.notification.strategy = plan.strategy
    if plan.strategy == ESCALATE:
        later.escalation.until = plan.escalate_until
        later.escalation.cause = cause
    return later


def count_on(plan: Plan, later: IntakeItem) -> None:
    """Tells the next decision how many deliveries are planned before it."""
    if planned_before(plan) is not None:
        later.deliveries = planned_so_far(plan)
