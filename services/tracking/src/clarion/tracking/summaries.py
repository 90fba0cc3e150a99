"""What became of a notification, in one sentence for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from clarion.api.router.v1.decision_pb2 import RuleOutcome
from clarion.api.tracking.v1.tracking_service_pb2 import (
    BroadcastRecord,
    ChannelExplanation,
    ExplainNotificationResponse,
)

_PASS = "pass"
_PLANNED = "planned"

_STATUSES: Mapping[str, str] = {
    "planned": "handed over to the channel, not sent yet",
    "retrying": "the provider is tried again",
    "unknown": "the provider did not answer: it may have been sent",
    "sent": "the provider took it",
    "delivered": "it reached the person",
    "opened": "the person opened it",
    "clicked": "the person followed a link in it",
    "read": "the person read it",
    "failed": "the provider refused it",
    "dead_lettered": "given up, and kept among the dead letters",
    "cancelled": "cancelled before it was sent",
    "superseded": "a later notification took its place",
    "expired": "its time was over before it could be sent",
    "suppressed": "nothing may be sent to the address",
    "deferred": "waits, and is decided anew then",
    "digested": "became part of a digest",
    "standby": "stands by for when a channel before it does not do",
    "skipped": "not sent",
    "rate_limited": "not sent: a limit is full",
}
REASONS: Mapping[str, str] = {
    "expired": "its time was over when it was decided",
    "unknown_recipient": "the person is not known",
    "channel_disabled": "the channel is switched off",
    "category_disabled": "the type or its category is switched off",
    "category_channel_disabled": "the type or its category is switched off here",
    "consent_withdrawn": "the person took back the consent to it",
    "quiet_hours": "the person has quiet hours",
    "send_window": "it is outside of the send window",
    "send_window_never_open": "quiet hours leave no moment of the send window",
    "no_address": "the person has no address or device here",
    "bounce": "the address bounced before",
    "complaint": "the person complained before",
    "stop": "the person answered STOP",
    "unsubscribe": "the person unsubscribed",
    "unregistered": "the device is not registered any more",
    "manual": "the address was suppressed by hand",
    "collapse_key": "a later one with its collapse_key was handed over",
    "digest": "it is sent together with others of its type",
    "hourly_limit": "the limit for an hour is full",
    "window_limit": "the limit for its window is full",
    "limits_unavailable": "nothing could be counted, and the limit is closed then",
    "daily_limit": "the limit for a day is full",
    "weekly_limit": "the limit for a week is full",
    "template_not_found": "there is no such template",
    "template_invalid": "the template cannot be rendered with its values",
    "render_failed": "it could not be rendered",
    "first_available": "a channel before it is used",
    "escalate": "a channel before it is used, and time is left",
    "already_read": "the person read it before this channel had its turn",
    "already_delivered": "the person was reached before this channel had its turn",
    "attempts_exhausted": "every attempt failed",
}
"""In words, by the reason of a decision or a delivery."""
_NOT_RENDERED = frozenset({"template_not_found", "template_invalid", "render_failed"})
"""Of what no provider ever saw."""


def of_channel(channel: ChannelExplanation) -> str:
    """Why something was or was not sent on one channel."""
    text = _STATUSES.get(channel.status, channel.status or "not decided yet")
    if channel.reason in _NOT_RENDERED:
        text = "not sent"
    attempts = max((len(d.delivery.attempts) for d in channel.deliveries), default=0)
    if attempts > 1:
        text += f", after {attempts} attempts"
    if channel.reason:
        text += f": {REASONS.get(channel.reason, channel.reason)}"
    stopped = _stopped_by(channel)
    if stopped is not None and stopped.detail:
        text += f" ({stopped.detail})"
    return text


def of_notification(answer: ExplainNotificationResponse) -> str:
    """The status with what happened on each channel."""
    if answer.channels:
        told = []
        for channel in answer.channels:
            why = f" ({channel.reason})" if channel.reason else ""
            told.append(f"{channel.channel} {channel.status}{why}")
        return f"{answer.status}: {', '.join(told)}"
    if answer.HasField("broadcast"):
        return _of_broadcast(answer.status, answer.broadcast)
    if answer.status == "scheduled":
        return f"scheduled: not decided before {_due(answer)}"
    if answer.status == "processing":
        return "processing: accepted and not decided yet"
    return f"{answer.status}: before anything was decided"


def _of_broadcast(status: str, told: BroadcastRecord) -> str:
    count = f"{told.subscribers} subscriber{'' if told.subscribers == 1 else 's'}"
    far = "" if told.is_complete else " so far"
    have = "has a notification" if told.subscribers == 1 else "have notifications"
    return f"{status}: {count} of {told.topic} {have} of their own{far}"


def _due(answer: ExplainNotificationResponse) -> str:
    if not answer.HasField("due_time"):
        return "it is due"
    return answer.due_time.ToJsonString()


def _stopped_by(channel: ChannelExplanation) -> RuleOutcome | None:
    """The rule that objected in the last decision, where that is still the state."""
    if not channel.verdicts:
        return None
    last = channel.verdicts[-1]
    if last.decision.outcome != channel.status or channel.status == _PLANNED:
        return None
    objected = [rule for rule in last.rules if rule.outcome != _PASS]
    # A limit that stopped other channels is no reason for this one.
    own = [rule for rule in objected if rule.channel] or objected
    return own[-1] if own else None
