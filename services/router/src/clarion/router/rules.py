"""The rules behind a decision, in the order in which they were looked at. Pure.

Made from the decision itself: a rule that comes before the one that objected was
passed, and one that comes after it was not looked at. So it cannot say anything else
than what was done, and a decision that needs no explanation costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clarion.router.channel_rules import CONSENT, rules_of_channel
from clarion.router.collapsing import COLLAPSE_KEY
from clarion.router.consent import WITHDRAWN
from clarion.router.deciding import NEVER_IN_WINDOW, QUIET_HOURS, SEND_WINDOW
from clarion.router.looked_at import FAIL, PASS, SKIP, LookedAt
from clarion.router.notification_types import ALL, DIGEST
from clarion.router.permit_rules import RULE as LIMIT_RULE
from clarion.router.permit_rules import rules_of_permit
from clarion.router.plan import (
    DEFERRED,
    FAILED,
    PLANNED,
    STANDBY,
    SUPPRESSED,
    ChannelPlan,
    Plan,
)

_EXPIRY = "expiry"
_RECIPIENT = "recipient"
_CRITICAL = "critical"
_STRATEGY = "strategy"
_REACHED = "escalation"
_TEMPLATE = "template"

_OF_REASON = {
    "expired": _EXPIRY,
    "unknown_recipient": _RECIPIENT,
    "channel_disabled": "channel_preference",
    "category_disabled": "category_preference",
    "category_channel_disabled": "category_channel_preference",
    WITHDRAWN: CONSENT,
    QUIET_HOURS: "quiet_hours",
    "no_address": "address",
    COLLAPSE_KEY: COLLAPSE_KEY,
    SEND_WINDOW: SEND_WINDOW,
    NEVER_IN_WINDOW: SEND_WINDOW,
    DIGEST: DIGEST,
    "already_read": _REACHED,
    "already_delivered": _REACHED,
}


def rules_of(plan: Plan) -> Iterator[LookedAt]:
    """Every rule that was looked at for a plan that is final."""
    stopped = [_stopped_at(plan, channel) for channel in plan.channels]
    is_over = bool(stopped) and all(rule == _EXPIRY for rule in stopped)
    yield rule_of_expiry(plan, SKIP if is_over else PASS)
    if is_over:
        return
    if _REACHED in stopped:
        for channel in plan.channels:
            detail = f"{channel.reason.replace('_', ' ')} before the step was due"
            yield LookedAt(_REACHED, channel.channel, SKIP, detail)
        return
    if not plan.profile.found:
        yield LookedAt(_RECIPIENT, "", SKIP, "not known")
        return
    yield from rules_of_person(plan, stopped)
    yield from _digest(plan, stopped)
    if COLLAPSE_KEY in stopped:
        yield LookedAt(COLLAPSE_KEY, "", SKIP, "a later notification has the same key")
    limited = [
        channel
        for channel, stop in zip(plan.channels, stopped, strict=True)
        if stop == LIMIT_RULE
    ]
    yield from rules_of_permit(plan, limited)
    yield from rules_of_templates(plan, stopped)
    if plan.strategy != ALL:
        yield from _strategy(plan)


def rule_of_expiry(plan: Plan, outcome: str) -> LookedAt:
    """Whether it was too late."""
    expiry = plan.expiry
    detail = f"at {expiry.ToJsonString()}" if expiry is not None else "never"
    return LookedAt(_EXPIRY, "", outcome, detail)


def rules_of_person(plan: Plan, stopped: Sequence[str]) -> Iterator[LookedAt]:
    """What a person that is known, and the type, say about each channel.

    ``stopped`` are the rules that objected to the channels, or nothing.
    """
    yield LookedAt(_RECIPIENT, "", PASS, "known")
    if plan.policy.critical:
        detail = "switches and quiet hours do not apply to the type"
        yield LookedAt(_CRITICAL, "", PASS, detail)
    for channel, stop in zip(plan.channels, stopped, strict=True):
        if stop != _STRATEGY:  # looked at when its turn comes
            yield from rules_of_channel(plan, channel, stop)


def rules_of_templates(plan: Plan, stopped: Sequence[str]) -> Iterator[LookedAt]:
    """Whether the channels that nothing objected to could be rendered."""
    for channel, stop in zip(plan.channels, stopped, strict=True):
        if stop == _TEMPLATE:
            yield LookedAt(_TEMPLATE, channel.channel, FAIL, channel.reason)
        elif stop == "":
            yield LookedAt(_TEMPLATE, channel.channel, PASS, "rendered")


def _strategy(plan: Plan) -> Iterator[LookedAt]:
    in_use = ""
    for channel in plan.channels:
        if channel.outcome == STANDBY:
            detail = f"stands by behind {in_use}"
            if plan.escalate_time is not None:
                until = plan.escalate_time.isoformat(timespec="milliseconds")
                detail = f"{detail}, until {until} or it is {plan.escalate_until}"
            yield LookedAt(_STRATEGY, channel.channel, STANDBY, detail)
        elif channel.outcome in (PLANNED, DEFERRED):
            in_use = channel.channel
            yield LookedAt(_STRATEGY, in_use, PASS, f"{plan.strategy}: is used")


def _stopped_at(plan: Plan, channel: ChannelPlan) -> str:
    """The rule that objected to a channel; nothing for one that is planned."""
    if channel.outcome == PLANNED:
        return ""
    if channel.outcome == STANDBY:
        return _STRATEGY
    if channel.outcome == FAILED:
        return _TEMPLATE
    if channel.outcome == SUPPRESSED:
        return "suppression"
    return _OF_REASON.get(channel.reason, LIMIT_RULE)


def _digest(plan: Plan, stopped: list[str]) -> Iterator[LookedAt]:
    if plan.item.HasField("digest"):
        detail = f"it is one, of {plan.item.digest.count}"
        yield LookedAt(DIGEST, "", PASS, detail)
        return
    policy = plan.policy.digest
    if policy is None:
        return
    for channel, stop in zip(plan.channels, stopped, strict=True):
        if stop == DIGEST and channel.release_time is not None:
            at = channel.release_time.isoformat(timespec="seconds")
            detail = f"{policy.mode}; as the first of a window it waits until {at}"
            yield LookedAt(DIGEST, channel.channel, DIGEST, detail)
