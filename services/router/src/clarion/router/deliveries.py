"""From a plan to delivery jobs and the event that writes the decision down. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import Content, DeliveryJob
from clarion.api.templating.v1.template_service_pb2 import RenderResult
from clarion.router.deciding import FAILED, PLANNED, ChannelPlan, Plan
from clarion.router.digests.fitting import fit
from clarion.router.permit_rules import is_unchecked, limits_of
from clarion.router.permits import deliveries_to_end, is_followed
from clarion.router.render_item import render_item
from clarion.router.rules import rules_of
from clarion.runtime.ids import delivery_id, event_id

Rendered = Mapping[tuple[str, str], RenderResult]
"""Results by item key and channel."""

_RENDER_REASONS = {
    code_pb2.NOT_FOUND: "template_not_found",
    code_pb2.INVALID_ARGUMENT: "template_invalid",
}


def render_items_for(plan: Plan) -> list[bytes]:
    """What the plan's channels are rendered with: one RenderItem for each template."""
    notification = plan.item.notification
    planned = [channel.channel for channel in plan.planned]
    if not planned:
        return []
    if plan.item.HasField("digest") and plan.item.digest.count > 1:
        # The type's own templates are for one.
        own = plan.policy.digest
        return [render_item(plan, own.template_id if own else "", planned)]
    if notification.template_id or not plan.policy.channel_templates:
        template_id = notification.template_id or plan.policy.template_id
        return [render_item(plan, template_id, planned)]
    channels: dict[str, list[str]] = {}
    for channel in planned:
        channels.setdefault(plan.policy.template_for(channel), []).append(channel)
    return [render_item(plan, *one) for one in channels.items()]


class EncodedJob(NamedTuple):
    """A delivery, ready to be published."""

    channel: str
    lane: str
    delivery_id: str
    body: bytes


def write_down(
    plan: Plan,
    rendered: Rendered,
    trace_parent: str,
    now: Timestamp,
    with_rules: bool = False,
) -> tuple[list[EncodedJob], NotificationEvent]:
    """The jobs of a plan and its DECIDED event.

    A channel whose rendering failed is decided as failed, with the reason. The rules
    go with it where they tell more than that all were passed, or when asked for.
    """
    item = plan.item
    notification = item.notification
    event = NotificationEvent(
        event_id=event_id(item.notification_id, "decided", str(item.release)),
        tenant_id=item.tenant_id,
        notification_id=item.notification_id,
        kind=EVENT_KIND_DECIDED,
        occurred_time=now,
        user_id=notification.user_id,
        type=notification.type,
    )
    decided = event.decided
    decided.notification.CopyFrom(notification)
    decided.accepted_time.CopyFrom(item.accepted_time)
    decided.key_id = item.key_id
    trace = decided.decision
    trace.category = plan.category
    trace.priority = plan.priority
    preferences = plan.profile.preferences
    trace.preferences_version = preferences.version
    trace.default_preferences_version = preferences.defaults_version
    trace.release = item.release
    trace.decided_time.CopyFrom(now)
    trace.strategy = plan.strategy
    jobs: list[EncodedJob] = []
    contents = [content_of(plan, channel, rendered) for channel in plan.channels]
    deliveries = deliveries_to_end(plan)
    followed = deliveries and not plan.is_plain and is_followed(plan)
    for channel, content in zip(plan.channels, contents, strict=True):
        decision = trace.channels.add(
            channel=channel.channel, outcome=channel.outcome, reason=channel.reason
        )
        if channel.release_time is not None:
            decision.release_time.FromDatetime(channel.release_time)
        if content is None:
            continue
        decision.template_id = content.template_id
        decision.template_version = content.template_version
        job = _job_for(plan, channel.channel, content, trace_parent)
        job.deliveries = deliveries
        if followed:
            job.followed = True
        if 0 < len(channel.targets) < deliveries or followed:
            job.channel_deliveries = len(channel.targets)
        if plan.fallback:
            job.fallback = plan.fallback
            job.fallback_deliveries = len(channel.targets)
        if plan.escalate_time is not None:
            job.escalate_until = plan.escalate_until
            decision.escalate_time.FromDatetime(plan.escalate_time)
        for target in channel.targets:
            job.delivery_id = delivery_id(
                item.notification_id, channel.channel, target.address
            )
            job.target.CopyFrom(target)
            decision.deliveries.add(
                delivery_id=job.delivery_id, device_id=target.device_id
            )
            jobs.append(
                EncodedJob(
                    channel.channel,
                    plan.priority,
                    job.delivery_id,
                    job.SerializeToString(),
                )
            )
    if with_rules or not plan.is_plain or is_unchecked(plan):
        trace.rules.extend(rules_of(plan))
        trace.limits.extend(limits_of(plan))
    return jobs, event


def content_of(plan: Plan, channel: ChannelPlan, rendered: Rendered) -> Content | None:
    """What a channel says; one that cannot be rendered fails by this."""
    if channel.outcome != PLANNED:
        return None
    result = rendered[plan.item.notification_id, channel.channel]
    if result.HasField("content"):
        return result.content
    channel.object(FAILED, _RENDER_REASONS.get(result.error.code, "render_failed"))
    return None


def _job_for(
    plan: Plan, channel: str, content: Content, trace_parent: str
) -> DeliveryJob:
    """The job of one channel; what differs from target to target is left out."""
    item = plan.item
    notification = item.notification
    job = DeliveryJob(
        notification_id=item.notification_id,
        tenant_id=item.tenant_id,
        user_id=notification.user_id,
        channel=channel,
        priority=plan.priority,
        content=content,
        attempt=1,
        accepted_time=item.accepted_time,
        trace_parent=trace_parent,
        type=notification.type,
        category=plan.category,
        collapse_key=notification.collapse_key,
    )
    if notification.HasField("data"):
        job.content.data.CopyFrom(notification.data)
    if plan.is_ordered:
        job.ordered = True
    if item.HasField("digest") and item.digest.count > 1:
        fit(channel, job.content)
    if plan.expiry is not None:
        job.expires_time.CopyFrom(plan.expiry)
    if plan.policy.critical:
        job.critical = True
    return job
