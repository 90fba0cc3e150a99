"""The rules about one channel of a decision, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from clarion.router.consent import last_word
from clarion.router.deciding import (
    NEVER_IN_WINDOW,
    QUIET_HOURS,
    SEND_WINDOW,
    UNSUBSCRIBED,
    passes_unsubscribed,
)
from clarion.router.looked_at import DEFER, PASS, SKIP, LookedAt
from clarion.router.notification_types import IGNORE
from clarion.router.plan import DEFERRED, EXPIRED, ChannelPlan, Plan
from clarion.router.quiet_hours import QUIET_CHANNELS
from clarion.router.wishes import CHANNEL

CONSENT = "consent"
Describe = Callable[[Plan, ChannelPlan], str]


def rules_of_channel(plan: Plan, channel: ChannelPlan, stop: str) -> Iterator[LookedAt]:
    """Those that were looked at, up to the one that objected (``stop``)."""
    for rule, describe in _CHANNEL_RULES.items():
        if plan.policy.critical and rule in _WISHES:
            continue
        if rule == CONSENT and not plan.profile.consents:
            continue
        if rule == SEND_WINDOW and plan.window is None:
            continue
        if rule == stop:
            outcome = DEFER if channel.outcome == DEFERRED else SKIP
            yield LookedAt(rule, channel.channel, outcome, describe(plan, channel))
            return
        yield LookedAt(rule, channel.channel, PASS, describe(plan, channel))


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
    CONSENT,
    "quiet_hours",
)
_CHANNEL_RULES: Mapping[str, Describe] = {
    "channel_preference": _switch,
    "category_channel_preference": _category_channel,
    "category_preference": _category,
    CONSENT: _consent,
    "quiet_hours": _quiet,
    SEND_WINDOW: _window,
    "address": _address,
    "suppression": _suppression,
}
"""In the order in which ``deciding`` looks at them."""
