"""From a plan to delivery jobs and the event that writes the decision down. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from google.protobuf.struct_pb2 import Struct
from google.rpc import code_pb2

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import Content, DeliveryJob, Target
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireItem
from clarion.api.templating.v1.template_service_pb2 import RenderItem, RenderResult
from clarion.router.deciding import FAILED, Plan, trace_of
from clarion.runtime.ids import delivery_id, event_id

Rendered = Mapping[tuple[str, str], RenderResult]
"""Results by item key and channel."""

_RENDER_REASONS = {
    code_pb2.NOT_FOUND: "template_not_found",
    code_pb2.INVALID_ARGUMENT: "template_invalid",
}


def permit_for(plan: Plan) -> AcquireItem:
    """The permit that a plan needs: one a notification, whatever the channels."""
    item = plan.item
    permit = AcquireItem(
        request_id=item.notification_id,
        user_id=item.notification.user_id,
        category=plan.category,
    )
    limits = plan.profile.preferences.frequency_limits
    if plan.category in limits:
        permit.personal_limit.CopyFrom(limits[plan.category])
    return permit


def render_item_for(plan: Plan) -> RenderItem:
    """What the plan's channels are rendered with."""
    notification = plan.item.notification
    recipient = plan.profile.recipient
    item = RenderItem(
        key=plan.item.notification_id,
        template_id=notification.template_id,
        template_version=notification.template_version,
        channels=[channel.channel for channel in plan.planned],
        locale=notification.locale or recipient.locale,
        title=notification.title,
        message=notification.message,
        type=notification.type,
    )
    if notification.HasField("data"):
        item.data.CopyFrom(notification.data)
    if recipient.HasField("attributes"):
        item.recipient.CopyFrom(recipient.attributes)
    person = Struct()
    person["user_id"] = notification.user_id
    person["display_name"] = recipient.display_name
    item.recipient.MergeFrom(person)
    return item


def write_down(
    plan: Plan, rendered: Rendered, trace_parent: str, now: datetime
) -> tuple[list[DeliveryJob], NotificationEvent]:
    """The jobs of a plan and its DECIDED event.

    A channel whose rendering failed is decided as failed, with the reason.
    """
    notification_id = plan.item.notification_id
    contents: dict[str, Content] = {}
    for channel in plan.planned:
        result = rendered[notification_id, channel.channel]
        if result.HasField("content"):
            contents[channel.channel] = result.content
        else:
            reason = _RENDER_REASONS.get(result.error.code, "render_failed")
            channel.object(FAILED, reason)

    trace = trace_of(plan, now)
    jobs: list[DeliveryJob] = []
    for channel, decision in zip(plan.channels, trace.channels, strict=True):
        content = contents.get(channel.channel)
        if content is None:
            continue
        decision.template_id = content.template_id
        decision.template_version = content.template_version
        for job in _jobs_of(plan, channel.channel, channel.targets, content):
            job.trace_parent = trace_parent
            decision.deliveries.add(
                delivery_id=job.delivery_id, device_id=job.target.device_id
            )
            jobs.append(job)

    event = NotificationEvent(
        event_id=event_id(notification_id, "decided", str(plan.item.release)),
        tenant_id=plan.item.tenant_id,
        notification_id=notification_id,
        kind=EVENT_KIND_DECIDED,
        user_id=plan.item.notification.user_id,
        type=plan.item.notification.type,
    )
    event.occurred_time.FromDatetime(now)
    event.decided.notification.CopyFrom(plan.item.notification)
    event.decided.decision.CopyFrom(trace)
    event.decided.accepted_time.CopyFrom(plan.item.accepted_time)
    event.decided.key_id = plan.item.key_id
    return jobs, event


def _jobs_of(
    plan: Plan, channel: str, targets: list[Target], content: Content
) -> list[DeliveryJob]:
    item = plan.item
    notification = item.notification
    jobs = []
    for target in targets:
        job = DeliveryJob(
            delivery_id=delivery_id(item.notification_id, channel, target.address),
            notification_id=item.notification_id,
            tenant_id=item.tenant_id,
            user_id=notification.user_id,
            channel=channel,
            priority=plan.priority,
            target=target,
            content=content,
            attempt=1,
            accepted_time=item.accepted_time,
            type=notification.type,
            category=plan.category,
            collapse_key=notification.collapse_key,
        )
        if notification.HasField("data"):
            job.content.data.CopyFrom(notification.data)
        if notification.HasField("expires_at"):
            job.expires_time.CopyFrom(notification.expires_at)
        jobs.append(job)
    return jobs
