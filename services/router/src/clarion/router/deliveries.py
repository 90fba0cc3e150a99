"""From a plan to delivery jobs and the event that writes the decision down. Pure.

Both are put together of encoded fields (encoded_decision.py, encoded_job.py): what many
have in common is encoded once, and the rest is encoded anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from google.rpc import code_pb2

from clarion.api.event.v1.work_pb2 import Content
from clarion.api.templating.v1.template_service_pb2 import RenderResult
from clarion.router.encoded_decision import (
    decided_event,
    decision_in_trace,
    decision_of,
    delivery_of,
)
from clarion.router.encoded_job import job_of_channel, job_of_plan, job_to
from clarion.router.permits import deliveries_to_end, is_followed
from clarion.router.plan import (
    FAILED,
    PLANNED,
    ChannelPlan,
    Plan,
)
from clarion.router.render_item import render_item
from clarion.runtime.ids import delivery_id, event_id

Rendered = Mapping[tuple[str, str], RenderResult]
"""Results by item key and channel."""

_RENDER_REASONS = {
    code_pb2.NOT_FOUND: "template_not_found",
    code_pb2.INVALID_ARGUMENT: "template_invalid",
}


def render_items_for(plan: Plan) -> list[bytes]:
    """What the plan's channels are rendered with: one RenderItem for each template."""
    notification = plan.notification
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
    now: bytes,
    with_rules: bool = False,
) -> tuple[list[EncodedJob], tuple[str, bytes]]:
    """The jobs of a plan, and the id of its DECIDED event with the encoded event.

    ``now`` is an encoded Timestamp. A channel whose rendering failed is decided as
    failed, with the reason. The rules go with it where somebody said something
    that they saw, where one objected, and when asked for.
    """
    contents = [content_of(plan, channel, rendered) for channel in plan.channels]
    accepted = plan.item.accepted_time.SerializeToString()
    deliveries = deliveries_to_end(plan)
    followed = deliveries > 0 and not plan.is_plain and is_followed(plan)
    of_plan = job_of_plan(plan, deliveries, followed, accepted, trace_parent)
    jobs: list[EncodedJob] = []
    decisions = b""
    for channel, content in zip(plan.channels, contents, strict=True):
        decision = decision_of(plan, channel, content)
        if content is not None:
            name = channel.channel
            own = len(channel.targets)
            if own >= deliveries and not followed:
                own = 0  # what ends with it ends with all
            of_channel = job_of_channel(plan, of_plan, channel, content, own)
            for target in channel.targets:
                id = delivery_id(plan.notification_id, name, target.address)
                encoded_id = id.encode()
                body = job_to(of_channel, encoded_id, target)
                jobs.append(EncodedJob(name, plan.priority, id, body))
                decision += delivery_of(encoded_id, target)
        decisions += decision_in_trace(decision)
    decided = event_id(plan.notification_id, "decided", str(plan.item.release))
    event = decided_event(plan, decided, accepted, now, decisions, with_rules)
    return jobs, (decided, event)


def content_of(plan: Plan, channel: ChannelPlan, rendered: Rendered) -> Content | None:
    """What a channel says; one that cannot be rendered fails by this."""
    if channel.outcome != PLANNED:
        return None
    result = rendered[plan.notification_id, channel.channel]
    if result.HasField("content"):
        return result.content
    channel.object(FAILED, _RENDER_REASONS.get(result.error.code, "render_failed"))
    return None
