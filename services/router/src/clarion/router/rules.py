"""The rules behind a decision, in the order in which they were looked at. Pure.

Made from the decision itself: a rule that comes before the one that objected was
passed, and one that comes after it was not looked at. So it cannot say anything else
than what was done, and a decision that needs no explanation costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from clarion.router.collapsing import COLLAPSE_KEY
from clarion.router.consent import WITHDRAWN, last_word
from clarion.router.deciding import (
    NEVER_IN_WINDOW,
    QUIET_HOURS,
    SEND_WINDOW,
    UNSUBSCRIBED,
    passes_unsubscribed,
)
from clarion.router.looked_at import LookedAt
from clarion.router.notification_types import ALL, DIGEST, IGNORE
from clarion.router.permit_rules import RULE as LIMIT_RULE
from clarion.router.permit_rules import rules_of_permit
from clarion.router.plan import (
    DEFERRED,
    EXPIRED,
    FAILED,
    PLANNED,
    STANDBY,
    SUPPRESSED,
    ChannelPlan,
    Plan,
)
from clarion.router.quiet_hours import QUIET_CHANNELS
from clarion.router.wishes import CHANNEL

PASS = "pass"
SKIP = "skip"
DEFER = "defer"
FAIL = "fail"

_EXPIRY = "expiry"
_RECIPIENT = "recipient"
_CRITICAL = "critical"
_STRATEGY = "strategy"
_REACHED = "escalation"
_TEMPLATE = "template"
_CONSENT = "consent"

_OF_REASON = {
    "expired": _EXPIRY,
    "unknown_recipient": _RECIPIENT,
    "channel_disabled": "channel_preference",
    "category_disabled": "category_preference",
    "category_channel_disabled": "category_channel_preference",
    WITHDRAWN: _CONSENT,
    QUIET_HOURS: "quiet_hours",
    "no_address": "address",
    COLLAPSE_KEY: COLLAPSE_KEY,
    SEND_WINDOW: SEND_WINDOW,
    NEVER_IN_WINDOW: SEND_WINDOW,
    DIGEST: DIGEST,
    "already_read": _REACHED,
    "already_delivered": _REACHED,
}
Describe = Callable[[Plan, ChannelPlan], str]


def rules_of(plan: Plan) -> Iterator[LookedAt]:
    """Every rule that was looked at for a plan that is final."""
    stopped = [_stopped_at(plan, channel) for channel in plan.channels]
    is_over = bool(stopped) and all(rule == _EXPIRY for rule in stopped)
    yield LookedAt(_EXPIRY, "", SKIP if is_over else PASS, _expiry(plan))
    if is_over:
        return
    if _REACHED in stopped:
        for channel in plan.channels:
            detail = f"{channel.reason.replace('_', ' ')} before the step was due"
            yield LookedAt(_REACHED, channel.channel, SKIP, detail)
        return
    is_unknown = not plan.profile.found
    detail = "not known" if is_unknown else "known"
    yield LookedAt(_RECIPIENT, "", SKIP if is_unknown else PASS, detail)
    if is_unknown:
        return
    if plan.policy.critical:
        detail = "switches and quiet hours do not apply to the type"
        yield LookedAt(_CRITICAL, "", PASS, detail)
    for channel, stop in zip(plan.channels, stopped, strict=True):
        yield from _of_channel(plan, channel, stop)
    yield from _digest(plan, stopped)
    if COLLAPSE_KEY in stopped:
        yield LookedAt(COLLAPSE_KEY, "", SKIP, "a later notification has the same key")
    limited = [
        channel
        for channel, stop in zip(plan.channels, stopped, strict=True)
        if stop == LIMIT_RULE
    ]
    yield from rules_of_permit(plan, limited)
    for channel, stop in zip(plan.channels, stopped, strict=True):
        if stop == _TEMPLATE:
            yield LookedAt(_TEMPLATE, channel.channel, FAIL, channel.reason)
        elif stop == "":
            yield LookedAt(_TEMPLATE, channel.channel, PASS, "rendered")
    if plan.strategy != ALL:
        yield from _strategy(plan)


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


def _of_channel(plan: Plan, channel: ChannelPlan, stop: str) -> Iterator[LookedAt]:
    if stop == _STRATEGY:
        return  # looked at when its turn comes
    for rule, describe in _CHANNEL_RULES.items():
        if plan.policy.critical and rule in _WISHES:
            continue
        if rule == _CONSENT and not plan.profile.consents:
            continue
        if rule == SEND_WINDOW and plan.window is None:
            continue
        if rule == stop:
            outcome = DEFER if channel.outcome == DEFERRED else SKIP
            yield LookedAt(rule, channel.channel, outcome, describe(plan, channel))
            return
        yield LookedAt(rule, channel.channel, PASS, describe(plan, channel))


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


def _expiry(plan: Plan) -> str:
    return f"at {plan.expiry.ToJsonString()}" if plan.expiry is not None else "never"


def _switch(plan: Plan, channel: ChannelPlan) -> str:
    preferences, name = plan.profile.preferences, f"{channel.channel}_enabled"
    if name not in preferences.DESCRIPTOR.fields_by_name:
        return "no switch"
    if not preferences.HasField(name):  # type: ignore[arg-type]
        return f"{name} is not set"
    is_on = getattr(preferences, name)
    seen = f"{name} is {'on' if is_on else 'off'}{_origin(plan, name)}"
    if is_on or channel.reason == CHANNEL:
        return seen
    return f"{seen}, but the person asks for it here"


def _category(plan: Plan, channel: ChannelPlan) -> str:
    preferences = plan.profile.preferences
    switches = preferences.categories
    return _switches(plan, "categories.", {n: switches.get(n) for n in plan.names})


def _category_channel(plan: Plan, channel: ChannelPlan) -> str:
    known = plan.profile.preferences.category_channels
    found = {
        name: known[name].channels.get(channel.channel) if name in known else None
        for name in plan.names
    }
    return _switches(plan, "category_channels.", found, f".{channel.channel}")


def _switches(
    plan: Plan, before: str, found: Mapping[str, bool | None], after: str = ""
) -> str:
    return ", ".join(
        f"{name} is {'not set' if value is None else 'on' if value else 'off'}"
        f"{_origin(plan, f'{before}{name}{after}')}"
        for name, value in found.items()
    )


def _origin(plan: Plan, value: str) -> str:
    """Where a value comes from, unless it is the person's own."""
    is_inherited = value in plan.profile.preferences.inherited
    return " by the tenant's defaults" if is_inherited else ""


def _consent(plan: Plan, channel: ChannelPlan) -> str:
    entry = last_word(plan.profile.consents, plan.names, channel.channel)
    if entry is None:
        return "nothing said about it"
    what = "given" if entry.granted else "taken back"
    subject = " on ".join(filter(None, (entry.category, entry.channel))) or "everything"
    return f"{what} for {subject} at {entry.given_time.ToJsonString()}"


def _quiet(plan: Plan, channel: ChannelPlan) -> str:
    if channel.channel not in QUIET_CHANNELS:
        return "the channel does not disturb"
    preferences = plan.profile.preferences
    hours = preferences.quiet_hours
    if not (hours.start and hours.end):
        return "none"
    zone = hours.timezone or plan.profile.recipient.time_zone or "UTC"
    span = f"{hours.start} to {hours.end} {zone}{_origin(plan, 'quiet_hours')}"
    if plan.priority == "high":
        return f"{span}; high priority passes"
    if plan.policy.quiet_hours_policy == IGNORE:
        return f"{span}; the type ignores them"
    if plan.is_collected:
        return f"{span}; looked at when the digest is sent"
    if channel.reason != QUIET_HOURS:
        return f"{span}; not now"
    if channel.outcome == EXPIRED:
        return f"{span}; it expires before their end"
    if channel.release_time is not None:
        return f"{span}; until {channel.release_time.isoformat(timespec='seconds')}"
    return span


def _window(plan: Plan, channel: ChannelPlan) -> str:
    if channel.channel not in QUIET_CHANNELS:
        return "the channel does not disturb"
    assert plan.window is not None
    zone = plan.window.time_zone or plan.profile.recipient.time_zone or "UTC"
    span = f"{plan.window.words} {zone}"
    if channel.reason == NEVER_IN_WINDOW:
        return f"{span}; the person's quiet hours leave no moment of it"
    if channel.reason != SEND_WINDOW:
        return f"{span}; open"
    if channel.outcome == EXPIRED:
        return f"{span}; it expires before it opens"
    if channel.release_time is not None:
        return f"{span}; opens {channel.release_time.isoformat(timespec='seconds')}"
    return span


def _address(plan: Plan, channel: ChannelPlan) -> str:
    return "none" if channel.reason == "no_address" else "there is one"


def _suppression(plan: Plan, channel: ChannelPlan) -> str:
    entries = plan.profile.suppressions
    reasons = sorted({e.reason for e in entries if e.channel == channel.channel})
    if not reasons:
        return "none"
    seen = f"addresses suppressed: {', '.join(reasons)}"
    if UNSUBSCRIBED in reasons and passes_unsubscribed(plan, channel.channel):
        return f"{seen}; critical mail goes to who unsubscribed"
    return seen


_WISHES = (
    "channel_preference",
    "category_channel_preference",
    "category_preference",
    _CONSENT,
    "quiet_hours",
)
_CHANNEL_RULES: Mapping[str, Describe] = {
    "channel_preference": _switch,
    "category_channel_preference": _category_channel,
    "category_preference": _category,
    _CONSENT: _consent,
    "quiet_hours": _quiet,
    SEND_WINDOW: _window,
    "address": _address,
    "suppression": _suppression,
}
"""In the order in which ``deciding`` looks at them."""
