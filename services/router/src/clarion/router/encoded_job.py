"""Delivery jobs, put together of encoded fields. Pure.

A job is what its plan says, what its channel says and what its target says, one after
the other: fields may stand in any order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from clarion.api.event.v1.work_pb2 import Content, DeliveryJob, Target
from clarion.router.digests.fitting import fit
from clarion.router.plan import ChannelPlan, Plan
from clarion.runtime.chunks import SIZES, field, tag

_ID = tag(DeliveryJob.DELIVERY_ID_FIELD_NUMBER)
_TENANT_ID = DeliveryJob.TENANT_ID_FIELD_NUMBER
_NOTIFICATION_ID = DeliveryJob.NOTIFICATION_ID_FIELD_NUMBER
_USER_ID = DeliveryJob.USER_ID_FIELD_NUMBER
_TARGET = tag(DeliveryJob.TARGET_FIELD_NUMBER)
_CONTENT = tag(DeliveryJob.CONTENT_FIELD_NUMBER)
_ACCEPTED_TIME = DeliveryJob.ACCEPTED_TIME_FIELD_NUMBER
_DATA = tag(Content.DATA_FIELD_NUMBER)


def job_of_plan(
    plan: Plan, deliveries: int, followed: bool, accepted: bytes, trace_parent: str
) -> bytes:
    """What all jobs of a plan say that is final; ``accepted`` is the encoded time.

    ``deliveries`` and ``followed`` are the fields of that name.
    """
    return (
        _kind(
            plan.priority,
            plan.type,
            plan.category,
            deliveries,
            followed,
        )
        + field(_TENANT_ID, plan.item.tenant_id.encode())
        + field(_NOTIFICATION_ID, plan.notification_id.encode())
        + field(_USER_ID, plan.user_id.encode())
        + field(_ACCEPTED_TIME, accepted)
        + _seldom(plan, trace_parent)
    )


def job_of_channel(
    plan: Plan, of_plan: bytes, channel: ChannelPlan, content: Content, deliveries: int
) -> bytes:
    """What all jobs of one of its channels say.

    ``deliveries`` are those of the channel, where they are told.
    """
    encoded = content.SerializeToString()
    if plan.data is not None:
        encoded = b"".join((encoded, _DATA, SIZES[len(plan.data)], plan.data))
    if plan.item.digest.count > 1:
        fitting = Content.FromString(encoded)
        fit(channel.channel, fitting)
        encoded = fitting.SerializeToString()
    job = b"".join(
        (
            _on(channel.channel, deliveries),
            of_plan,
            _CONTENT,
            SIZES[len(encoded)],
            encoded,
        )
    )
    if plan.fallback:
        job += DeliveryJob(
            fallback=plan.fallback, fallback_deliveries=len(channel.targets)
        ).SerializeToString()
    return job


def job_to(of_channel: bytes, delivery_id: bytes, target: Target) -> bytes:
    """The whole job to one target."""
    encoded = target.SerializeToString()
    return b"".join(
        (
            of_channel,
            _ID,
            SIZES[len(delivery_id)],
            delivery_id,
            _TARGET,
            SIZES[len(encoded)],
            encoded,
        )
    )


def _seldom(plan: Plan, trace_parent: str) -> bytes:
    """The fields that most jobs do not have."""
    fields: dict[str, Any] = {}
    if trace_parent:
        fields["trace_parent"] = trace_parent
    if collapse_key := plan.notification.collapse_key:
        fields["collapse_key"] = collapse_key
    if plan.expiry is not None:
        fields["expires_time"] = plan.expiry
    if plan.escalate_time is not None:
        fields["escalate_until"] = plan.escalate_until
    if plan.is_ordered:
        fields["ordered"] = True
    if plan.policy.critical:
        fields["critical"] = True
    return DeliveryJob(**fields).SerializeToString() if fields else b""


@lru_cache(maxsize=4096)
def _kind(
    priority: str,
    type: str,
    category: str,
    deliveries: int,
    followed: bool,
) -> bytes:
    """What the jobs of many notifications say."""
    return DeliveryJob(
        priority=priority,
        attempt=1,
        type=type,
        category=category,
        deliveries=deliveries,
        followed=followed,
    ).SerializeToString()


@lru_cache(maxsize=1024)
def _on(channel: str, deliveries: int) -> bytes:
    return DeliveryJob(
        channel=channel, channel_deliveries=deliveries
    ).SerializeToString()
