from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import Content, DeliveryJob, IntakeItem
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireResult
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.router.v1.decision_pb2 import RuleOutcome
from clarion.api.templating.v1.template_service_pb2 import RenderResult
from clarion.router.deciding import decide
from clarion.router.deliveries import Rendered, write_down
from clarion.router.notification_types import TypePolicy
from clarion.router.permit_rules import is_unchecked, limits_of
from clarion.router.permits import apply_permit, deliveries_to_end, is_followed
from clarion.router.plan import PLANNED, Plan
from clarion.router.rules import rules_of
from clarion.runtime.ids import delivery_id, event_id
from clarion.runtime.testing import FakeClock

NOW = FakeClock().now()
STAMP = Timestamp()
STAMP.FromDatetime(NOW)
ALWAYS = QuietHours(start="00:00", end="23:59", timezone="UTC")
CHANNELS = ["push", "email", "sms", "in_app"]


def event_of(plan: Plan, rendered: Rendered) -> NotificationEvent:
    item, notification = plan.item, plan.item.notification
    event = NotificationEvent(
        event_id=event_id(item.notification_id, "decided", str(item.release)),
        tenant_id=item.tenant_id,
        notification_id=item.notification_id,
        kind=EVENT_KIND_DECIDED,
        occurred_time=STAMP,
        user_id=notification.user_id,
        type=notification.type,
    )
    decided = event.decided
    decided.notification.CopyFrom(notification)
    decided.accepted_time.CopyFrom(item.accepted_time)
    decided.key_id = item.key_id
    decided.broadcast_id = item.broadcast_id
    trace = decided.decision
    trace.category, trace.priority = plan.category, plan.priority
    trace.strategy, trace.release = plan.strategy, item.release
    trace.preferences_version = plan.profile.preferences.version
    trace.default_preferences_version = plan.profile.preferences.defaults_version
    trace.decided_time.CopyFrom(STAMP)
    for channel in plan.channels:
        decision = trace.channels.add(
            channel=channel.channel, outcome=channel.outcome, reason=channel.reason
        )
        if channel.release_time is not None:
            decision.release_time.FromDatetime(channel.release_time)
        if channel.outcome != PLANNED:
            continue
        content = rendered[item.notification_id, channel.channel].content
        decision.template_id = content.template_id
        decision.template_version = content.template_version
        if plan.escalate_time is not None:
            decision.escalate_time.FromDatetime(plan.escalate_time)
        for target in channel.targets:
            decision.deliveries.add(
                delivery_id=delivery_id(
                    item.notification_id, channel.channel, target.address
                ),
                device_id=target.device_id,
            )
    if not (plan.is_plain and plan.is_obvious) or is_unchecked(plan):
        trace.rules.extend(RuleOutcome(**rule._asdict()) for rule in rules_of(plan))
        trace.limits.extend(limits_of(plan))
    return event


def jobs_of(plan: Plan, rendered: Rendered, trace_parent: str) -> list[DeliveryJob]:
    item, notification = plan.item, plan.item.notification
    jobs = []
    deliveries = deliveries_to_end(plan)
    followed = deliveries > 0 and is_followed(plan)
    for channel in plan.channels:
        for target in channel.targets if channel.outcome == PLANNED else ():
            job = DeliveryJob(
                delivery_id=delivery_id(
                    item.notification_id, channel.channel, target.address
                ),
                notification_id=item.notification_id,
                tenant_id=item.tenant_id,
                user_id=notification.user_id,
                channel=channel.channel,
                priority=plan.priority,
                target=target,
                content=rendered[item.notification_id, channel.channel].content,
                attempt=1,
                accepted_time=item.accepted_time,
                expires_time=plan.expiry,
                trace_parent=trace_parent,
                type=notification.type,
                category=plan.category,
                collapse_key=notification.collapse_key,
                deliveries=deliveries,
                followed=followed,
                critical=plan.policy.critical,
                ordered=plan.is_ordered,
            )
            if notification.HasField("data"):
                job.content.data.CopyFrom(notification.data)
            if followed or len(channel.targets) < deliveries:
                job.channel_deliveries = len(channel.targets)
            if plan.fallback:
                job.fallback = plan.fallback
                job.fallback_deliveries = len(channel.targets)
            if plan.escalate_time is not None:
                job.escalate_until = plan.escalate_until
            jobs.append(job)
    return jobs


@pytest.mark.parametrize("is_quiet", [False, True])
@pytest.mark.parametrize("failing", ["", "email"])
@pytest.mark.parametrize("has_permit", [None, "counted", "unchecked", "refused"])
@given(
    channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=4, unique=True),
    texts=st.tuples(*[st.text(max_size=150)] * 3),
    data=st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=150)),
    release=st.integers(0, 2),
    versions=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
    is_ordered=st.booleans(),
    is_critical=st.booleans(),
    expires_in=st.none() | st.integers(1, 10**6),
    fallback=st.binary(max_size=200),
    escalates=st.booleans(),
    trace_parent=st.sampled_from(["", "00-trace"]),
)
def test_what_is_put_together_says_what_messages_would(
    is_quiet: bool,
    failing: str,
    has_permit: str | None,
    channels: list[str],
    texts: tuple[str, str, str],
    data: dict[str, str] | None,
    release: int,
    versions: tuple[int, int],
    is_ordered: bool,
    is_critical: bool,
    expires_in: int | None,
    fallback: bytes,
    escalates: bool,
    trace_parent: str,
    notify: Any,
    person: Any,
) -> None:
    text, key, collapse_key = texts
    notification = notify(channels=channels, collapse_key=collapse_key)
    if data is not None:
        notification.data.SetInParent()
        notification.data.update(data)
    if expires_in is not None:
        notification.expires_at.FromDatetime(NOW + timedelta(seconds=expires_in))
    item = IntakeItem(
        notification_id="n" * 36,
        tenant_id="demo",
        key_id=key,
        broadcast_id=key,
        notification=notification,
        release=release,
        channels=channels,
    )
    item.accepted_time.FromDatetime(NOW - timedelta(seconds=3))
    profile = person(version=versions[0], defaults_version=versions[1])
    if is_quiet:
        profile.preferences.quiet_hours.CopyFrom(ALWAYS)
    policy = TypePolicy("c", ordered=is_ordered, critical=is_critical)
    plan = decide(item, profile, NOW, policy)
    if has_permit is not None:
        permit = AcquireResult(
            allowed=has_permit != "refused",
            unchecked=has_permit == "unchecked",
            exceeded="daily" if has_permit == "refused" else "",
        )
        apply_permit(plan, permit, NOW)
    plan.fallback = fallback
    plan.escalate_time = NOW + timedelta(minutes=1) if escalates else None
    content = Content(title=text, body=text, template_id=key, template_version=7)
    rendered = {
        (item.notification_id, channel): RenderResult(content=content)
        if channel != failing
        else RenderResult(error={"code": code_pb2.NOT_FOUND})
        for channel in channels
    }
    jobs, (event_id_, event) = write_down(
        plan, rendered, trace_parent, STAMP.SerializeToString()
    )
    told = NotificationEvent.FromString(event)
    assert told == event_of(plan, rendered)
    assert event_id_ == told.event_id
    found = [DeliveryJob.FromString(job.body) for job in jobs]
    assert found == jobs_of(plan, rendered, trace_parent)
    assert [job.delivery_id for job in jobs] == [job.delivery_id for job in found]
