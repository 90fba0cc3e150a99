"""The rules of a decision as fields of its DecisionTrace. Pure.

What most decisions say about the person and the type is the same as what others said
of people with the same wishes: it is put into words once.
"""

from __future__ import annotations

from clarion.router.looked_at import PASS, encoded
from clarion.router.notification_types import ALL
from clarion.router.permit_rules import rules_of_permit
from clarion.router.plan import Plan
from clarion.router.rules import (
    rule_of_expiry,
    rules_of,
    rules_of_person,
    rules_of_templates,
)

_MOST_KEPT = 4096
_Wishes = tuple[object, ...]

_kept: dict[_Wishes, tuple[bytes, bytes]] = {}
"""Rules before and behind that of the limits, by all that they depend on."""


def encoded_rules_of(plan: Plan) -> bytes:
    """Every rule that was looked at for a plan that is final, in that order."""
    wishes = _wishes_of(plan)
    if wishes is None:
        return encoded(rules_of(plan))
    before, behind = _kept.get(wishes) or _put_into_words(plan, wishes)
    return before + encoded(rules_of_permit(plan, ())) + behind


def _put_into_words(plan: Plan, wishes: _Wishes) -> tuple[bytes, bytes]:
    nothing_objected = ("",) * len(plan.channels)
    before = encoded((rule_of_expiry(plan, PASS),))
    before += encoded(rules_of_person(plan, nothing_objected))
    found = before, encoded(rules_of_templates(plan, nothing_objected))
    if len(_kept) >= _MOST_KEPT:
        _kept.clear()
    _kept[wishes] = found
    return found


def _wishes_of(plan: Plan) -> _Wishes | None:
    """What the rules of a plan to which nothing objected saw; None for any other, and
    where more was seen than most people say.
    """
    profile, policy = plan.profile, plan.policy
    preferences = profile.preferences
    if not (
        plan.is_plain
        and profile.found
        and plan.expiry is None
        and plan.strategy == ALL
        and plan.window is None
        and policy.digest is None
        and not profile.consents
        and not profile.suppressions
        and not preferences.category_channels
        and not plan.item.HasField("digest")
    ):
        return None
    span = None
    if preferences.HasField("quiet_hours"):
        hours = preferences.quiet_hours
        span = hours.start, hours.end, hours.timezone, profile.recipient.time_zone
    switches = preferences.categories
    return (
        tuple([channel.channel for channel in plan.channels]),
        preferences.push_enabled if preferences.HasField("push_enabled") else None,
        preferences.email_enabled if preferences.HasField("email_enabled") else None,
        preferences.sms_enabled if preferences.HasField("sms_enabled") else None,
        preferences.in_app_enabled if preferences.HasField("in_app_enabled") else None,
        tuple([(name, switches.get(name)) for name in plan.names]),
        span,
        tuple(preferences.inherited),
        plan.priority,
        policy.critical,
        policy.quiet_hours_policy,
    )
