"""The DECIDED event of a plan, put together of encoded fields. Pure."""

from __future__ import annotations

from functools import lru_cache

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    Decided,
    NotificationEvent,
)
from clarion.api.event.v1.work_pb2 import Content, Target
from clarion.api.router.v1.decision_pb2 import (
    ChannelDecision,
    DecisionTrace,
    PlannedDelivery,
)
from clarion.router.encoded_rules import encoded_rules_of
from clarion.router.permit_rules import is_unchecked, limits_of
from clarion.router.plan import ChannelPlan, Plan
from clarion.runtime.chunks import SIZES, field, tag

_EVENT_ID = tag(NotificationEvent.EVENT_ID_FIELD_NUMBER)
_NOTIFICATION_ID = tag(NotificationEvent.NOTIFICATION_ID_FIELD_NUMBER)
_OCCURRED_TIME = NotificationEvent.OCCURRED_TIME_FIELD_NUMBER
_USER_ID = tag(NotificationEvent.USER_ID_FIELD_NUMBER)
_DECIDED = tag(NotificationEvent.DECIDED_FIELD_NUMBER)
_NOTIFICATION = tag(Decided.NOTIFICATION_FIELD_NUMBER)
_DECISION = tag(Decided.DECISION_FIELD_NUMBER)
_ACCEPTED_TIME = tag(Decided.ACCEPTED_TIME_FIELD_NUMBER)
_CHANNELS = DecisionTrace.CHANNELS_FIELD_NUMBER
_DECIDED_TIME = DecisionTrace.DECIDED_TIME_FIELD_NUMBER
_DELIVERIES = ChannelDecision.DELIVERIES_FIELD_NUMBER
_DELIVERY_ID = PlannedDelivery.DELIVERY_ID_FIELD_NUMBER
_DEVICE_ID = PlannedDelivery.DEVICE_ID_FIELD_NUMBER


def decision_of(plan: Plan, channel: ChannelPlan, content: Content | None) -> bytes:
    """The ChannelDecision about a channel and what it says, without its deliveries."""
    if content is None:
        decision = _outcome(channel.channel, channel.outcome, channel.reason, "", 0)
    else:
        decision = _outcome(
            channel.channel,
            channel.outcome,
            channel.reason,
            content.template_id,
            content.template_version,
        )
        if plan.escalate_time is not None:
            escalates = ChannelDecision()
            escalates.escalate_time.FromDatetime(plan.escalate_time)
            decision += escalates.SerializeToString()
    if channel.release_time is not None:
        waits = ChannelDecision()
        waits.release_time.FromDatetime(channel.release_time)
        decision += waits.SerializeToString()
    return decision


def delivery_of(delivery_id: bytes, target: Target) -> bytes:
    """A delivery as a field of its ChannelDecision."""
    delivery = field(_DELIVERY_ID, delivery_id)
    if device_id := target.device_id:
        delivery += field(_DEVICE_ID, device_id.encode())
    return field(_DELIVERIES, delivery)


def decision_in_trace(decision: bytes) -> bytes:
    """A ChannelDecision as a field of its DecisionTrace."""
    return field(_CHANNELS, decision)


def decided_event(
    plan: Plan,
    event_id: str,
    accepted: bytes,
    now: bytes,
    decisions: bytes,
    with_rules: bool,
) -> bytes:
    """The NotificationEvent of a plan that is final.

    ``accepted`` and ``now`` are encoded times, ``decisions`` fields of its trace.
    """
    item = plan.item
    preferences = plan.profile.preferences
    trace = _trace(
        plan.category,
        plan.priority,
        plan.strategy,
        preferences.version,
        preferences.defaults_version,
        item.release,
    )
    if with_rules or not (plan.is_plain and plan.is_obvious) or is_unchecked(plan):
        trace += encoded_rules_of(plan)
        if limits := list(limits_of(plan)):
            trace += DecisionTrace(limits=limits).SerializeToString()
    notification = plan.notification.SerializeToString()
    occurred_time, decided_time = _times(now)
    # Joined at once: each part that is added to another one is copied every time.
    decided = b"".join(
        (
            _NOTIFICATION,
            SIZES[len(notification)],
            notification,
            _ACCEPTED_TIME,
            SIZES[len(accepted)],
            accepted,
            _DECISION,
            SIZES[len(decided_time) + len(trace) + len(decisions)],
            decided_time,
            trace,
            decisions,
        )
    )
    encoded_id = event_id.encode()
    notification_id = plan.notification_id.encode()
    user_id = plan.user_id.encode()
    return b"".join(
        (
            _sender(item.tenant_id, item.key_id, item.broadcast_id),
            _kind(plan.type),
            occurred_time,
            _EVENT_ID,
            SIZES[len(encoded_id)],
            encoded_id,
            _NOTIFICATION_ID,
            SIZES[len(notification_id)],
            notification_id,
            _USER_ID,
            SIZES[len(user_id)],
            user_id,
            _DECIDED,
            SIZES[len(decided)],
            decided,
        )
    )


@lru_cache(maxsize=4096)
def _sender(tenant: str, key_id: str, broadcast_id: str) -> bytes:
    """What many events say; all but the tenant is a part of ``decided``."""
    event = NotificationEvent(tenant_id=tenant)
    event.decided.key_id = key_id
    event.decided.broadcast_id = broadcast_id
    return event.SerializeToString()


@lru_cache(maxsize=4096)
def _kind(type: str) -> bytes:
    return NotificationEvent(type=type, kind=EVENT_KIND_DECIDED).SerializeToString()


@lru_cache(maxsize=1)
def _times(now: bytes) -> tuple[bytes, bytes]:
    """The time of a batch as a field of its events, and of their traces."""
    return field(_OCCURRED_TIME, now), field(_DECIDED_TIME, now)


@lru_cache(maxsize=4096)
def _trace(
    category: str,
    priority: str,
    strategy: str,
    preferences_version: int,
    default_preferences_version: int,
    release: int,
) -> bytes:
    """What many decisions say."""
    return DecisionTrace(
        category=category,
        priority=priority,
        strategy=strategy,
        preferences_version=preferences_version,
        default_preferences_version=default_preferences_version,
        release=release,
    ).SerializeToString()


@lru_cache(maxsize=4096)
def _outcome(
    channel: str, outcome: str, reason: str, template_id: str, template_version: int
) -> bytes:
    """What is decided about a channel of many."""
    return ChannelDecision(
        channel=channel,
        outcome=outcome,
        reason=reason,
        template_id=template_id,
        template_version=template_version,
    ).SerializeToString()
