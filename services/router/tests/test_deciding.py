from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.router.deciding import decide
from clarion.router.notification_types import TypePolicy
from clarion.router.plan import PLANNED
from clarion.runtime.testing import FakeClock

CHANNELS = ("push", "email", "sms", "in_app")
NOON_IS_QUIET = QuietHours(start="11:00", end="13:00")


def outcome(plan: Any, channel: str) -> tuple[str, str]:
    (found,) = [c for c in plan.channels if c.channel == channel]
    return found.outcome, found.reason


@pytest.mark.parametrize("channel", CHANNELS)
def test_everybody_gets_everything_unless_a_rule_objects(
    channel: str, make_item: Any, person: Any, clock: FakeClock
) -> None:
    plan = decide(make_item(channels=[channel]), person(), clock.now())
    assert outcome(plan, channel) == (PLANNED, "")
    assert plan.channels[0].targets


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channel_that_is_switched_off_is_skipped(
    channel: str, make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person(**{f"{channel}_enabled": False})
    plan = decide(make_item(channels=CHANNELS), profile, clock.now())
    assert outcome(plan, channel) == ("skipped", "channel_disabled")
    assert len(plan.planned) == 3


@pytest.mark.parametrize("name", ["promotional", "newsletter"])
def test_a_category_or_a_type_that_is_switched_off_is_skipped(
    name: str, make_item: Any, person: Any, clock: FakeClock
) -> None:
    item = make_item(type="newsletter", channels=["push", "email"])
    plan = decide(item, person(categories={name: False}), clock.now())
    assert {(c.outcome, c.reason) for c in plan.channels} == {
        ("skipped", "category_disabled")
    }


def test_a_category_can_be_switched_off_on_one_channel(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person()
    profile.preferences.category_channels["comment"].channels["email"] = False
    before = profile.SerializeToString(deterministic=True)
    plan = decide(make_item(channels=["push", "email"]), profile, clock.now())
    assert outcome(plan, "email") == ("skipped", "category_channel_disabled")
    assert outcome(plan, "push") == (PLANNED, "")
    assert profile.SerializeToString(deterministic=True) == before


def test_quiet_hours_hold_back_what_disturbs_and_not_the_inbox(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person(quiet_hours=NOON_IS_QUIET)
    plan = decide(make_item(channels=CHANNELS), profile, clock.now())
    assert outcome(plan, "in_app") == (PLANNED, "")
    for channel in ("push", "email", "sms"):
        assert outcome(plan, channel) == ("deferred", "quiet_hours")
    until = {c.release_time for c in plan.channels if c.release_time}
    assert until == {clock.now() + timedelta(hours=1)}


def test_quiet_hours_do_not_hold_back_high_priority(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person(quiet_hours=NOON_IS_QUIET)
    item = make_item(channels=["push"], priority="high")
    assert outcome(decide(item, profile, clock.now()), "push") == (PLANNED, "")


ALL_DAY = QuietHours(start="09:00", end="09:00")


@pytest.mark.parametrize(
    ("policy", "hours", "expected"),
    [
        ("defer", NOON_IS_QUIET, ("deferred", "quiet_hours")),
        ("defer", ALL_DAY, ("skipped", "quiet_hours")),
        ("skip", NOON_IS_QUIET, ("skipped", "quiet_hours")),
        ("ignore", NOON_IS_QUIET, (PLANNED, "")),
    ],
)
def test_a_type_says_what_happens_in_quiet_hours(
    policy: str,
    hours: QuietHours,
    expected: tuple[str, str],
    make_item: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    profile = person(quiet_hours=hours)
    of_type = TypePolicy("news", quiet_hours_policy=policy)
    plan = decide(make_item(channels=["push"]), profile, clock.now(), of_type)
    assert outcome(plan, "push") == expected


def test_what_would_expire_in_quiet_hours_expires_at_once(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    end = clock.now() + timedelta(hours=1)
    profile = person(quiet_hours=NOON_IS_QUIET)
    item = make_item(channels=["push"], expires_at=end)
    assert outcome(decide(item, profile, clock.now()), "push") == (
        "expired",
        "quiet_hours",
    )
    item = make_item(channels=["push"], expires_at=end + timedelta(seconds=1))
    assert outcome(decide(item, profile, clock.now()), "push")[0] == "deferred"


CRITICAL = TypePolicy("security", critical=True)


def test_a_critical_type_passes_switches_and_quiet_hours(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person(
        **{f"{channel}_enabled": False for channel in CHANNELS},
        categories={"security": False, "comment": False},
        quiet_hours=NOON_IS_QUIET,
    )
    profile.preferences.category_channels["comment"].channels["email"] = False
    plan = decide(make_item(channels=CHANNELS), profile, clock.now(), CRITICAL)
    assert {c.outcome for c in plan.channels} == {PLANNED}


def test_a_critical_type_respects_suppressions_and_expiry(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person()
    profile.suppressions.add(channel="sms", address="+14155550123", reason="stop")
    plan = decide(make_item(channels=["sms"]), profile, clock.now(), CRITICAL)
    assert outcome(plan, "sms") == ("suppressed", "stop")
    over = make_item(channels=["sms"], expires_at=clock.now())
    plan = decide(over, profile, clock.now(), CRITICAL)
    assert outcome(plan, "sms") == ("expired", "expired")


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("lives", "stated", "scheduled", "expected"),
    [
        (None, None, None, None),
        (None, 3 * HOUR, None, 3 * HOUR),
        (2 * HOUR, None, None, 2 * HOUR),
        (2 * HOUR, 3 * HOUR, None, 2 * HOUR),
        (2 * HOUR, HOUR, None, HOUR),
        (2 * HOUR, None, 5 * HOUR, 7 * HOUR),  # it lives from its time on
        (2 * HOUR, None, -5 * HOUR, 2 * HOUR),
        (2 * HOUR, 6 * HOUR, 5 * HOUR, 6 * HOUR),
    ],
)
def test_the_earlier_of_lifetime_and_expiry_holds(
    lives: timedelta | None,
    stated: timedelta | None,
    scheduled: timedelta | None,
    expected: timedelta | None,
    make_item: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    now, fields = clock.now(), {}
    if stated is not None:
        fields["expires_at"] = now + stated
    if scheduled is not None:
        fields["scheduled_at"] = now + scheduled
    policy = TypePolicy("news", time_to_live=lives)
    item = make_item(channels=["push"], **fields)
    plan = decide(item, person(), now, policy)
    at = plan.expiry.ToDatetime(UTC) - now if plan.expiry else None
    assert at == expected
    if expected is not None:
        late = decide(item, person(), now + expected, policy)
        assert outcome(late, "push") == ("expired", "expired")


def test_a_release_is_about_the_channels_that_waited(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    item = make_item(channels=CHANNELS)
    assert decide(item, person(), clock.now()).is_whole
    item.release, item.channels[:] = 1, ["push", "sms"]
    plan = decide(item, person(), clock.now())
    assert [c.channel for c in plan.channels] == ["push", "sms"]
    assert not plan.is_whole


@pytest.mark.parametrize(
    ("channel", "clear"),
    [("push", "devices"), ("email", "email"), ("sms", "phone_number")],
)
def test_a_person_without_an_address_is_skipped(
    channel: str, clear: Any, make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person()
    profile.recipient.ClearField(clear)
    plan = decide(make_item(channels=[channel]), profile, clock.now())
    assert outcome(plan, channel) == ("skipped", "no_address")


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("email", "ada@example.com"),
        ("sms", "+14155550123"),
        ("in_app", "ada"),
    ],
)
def test_a_suppressed_address_is_not_used(
    channel: str, address: str, make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person()
    profile.recipient.email = "Ada@Example.com"
    profile.suppressions.add(channel=channel, address=address, reason="stop")
    plan = decide(make_item(channels=CHANNELS), profile, clock.now())
    assert outcome(plan, channel) == ("suppressed", "stop")
    assert len(plan.planned) == 3


REASONS = ("bounce", "complaint", "stop", "unsubscribe", "unregistered", "manual")
ADDRESSES = {
    "push": "token-1",
    "email": "ada@example.com",
    "sms": "+14155550123",
    "in_app": "ada",
}


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("reason", REASONS)
def test_a_suppression_stops_everything_but_critical_mail_after_an_unsubscription(
    reason: str,
    channel: str,
    critical: bool,
    make_item: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    profile = person()
    del profile.recipient.devices[1:]
    profile.suppressions.add(channel=channel, address=ADDRESSES[channel], reason=reason)
    policy = TypePolicy(category="c", channels=(channel,), critical=critical)
    plan = decide(make_item(), profile, clock.now(), policy)
    if (reason, channel, critical) == ("unsubscribe", "email", True):
        assert outcome(plan, channel) == (PLANNED, "")
    else:
        assert outcome(plan, channel) == ("suppressed", reason)


def test_one_suppressed_device_leaves_the_other(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person()
    profile.suppressions.add(channel="push", address="token-1", reason="unregistered")
    plan = decide(make_item(channels=["push"]), profile, clock.now())
    assert [target.device_id for target in plan.channels[0].targets] == ["d2"]


def test_an_unknown_person_is_skipped_on_every_channel(
    make_item: Any, clock: FakeClock
) -> None:
    profile = RecipientProfile(found=False)
    plan = decide(make_item(channels=CHANNELS), profile, clock.now())
    assert {(c.outcome, c.reason) for c in plan.channels} == {
        ("skipped", "unknown_recipient")
    }


@pytest.mark.parametrize(("late", "expected"), [(-1, PLANNED), (0, "expired")])
def test_what_is_over_is_not_sent(
    late: int, expected: str, make_item: Any, person: Any, clock: FakeClock
) -> None:
    expiry = clock.now() - timedelta(seconds=late)
    item = make_item(channels=["push"], expires_at=expiry)
    assert decide(item, person(), clock.now()).channels[0].outcome == expected


def test_a_channel_that_left_the_mesh_is_skipped(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    plan = decide(make_item(channels=["fax"]), person(), clock.now())
    assert outcome(plan, "fax") == ("skipped", "no_address")


def test_the_notifications_own_words_win_over_the_types(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    plan = decide(make_item(type="newsletter"), person(), clock.now())
    assert (plan.category, plan.priority) == ("promotional", "medium")
    assert [c.channel for c in plan.channels] == ["push", "in_app"]
    item = make_item(type="newsletter", category="news", priority="low")
    plan = decide(item, person(), clock.now())
    assert (plan.category, plan.priority) == ("news", "low")


# In the order in which rules are looked at: the first one that objects is the reason.
RULES: tuple[tuple[str, Callable[[IntakeItem, RecipientProfile, datetime], None]], ...]
RULES = (
    ("expired", lambda item, p, now: item.notification.expires_at.FromDatetime(now)),
    ("unknown_recipient", lambda item, p, now: p.ClearField("found")),
    ("channel_disabled", lambda item, p, now: _set(p, "email_enabled", False)),
    ("category_channel_disabled", lambda item, p, now: _off_on_email(p)),
    ("category_disabled", lambda item, p, now: _off(p)),
    (
        "quiet_hours",
        lambda item, p, now: p.preferences.quiet_hours.CopyFrom(NOON_IS_QUIET),
    ),
    ("no_address", lambda item, p, now: p.recipient.ClearField("email")),
    (
        "bounce",
        lambda item, p, now: p.suppressions.append(
            p.suppressions.add(
                channel="email", address="ada@example.com", reason="bounce"
            )
        ),
    ),
)


def _set(profile: RecipientProfile, name: str, value: bool) -> None:
    setattr(profile.preferences, name, value)


def _off(profile: RecipientProfile) -> None:
    profile.preferences.categories["comment"] = False


def _off_on_email(profile: RecipientProfile) -> None:
    profile.preferences.category_channels["comment"].channels["email"] = False


@given(objecting=st.sets(st.sampled_from(range(len(RULES)))))
def test_the_first_rule_that_objects_gives_the_reason(
    objecting: set[int], notify: Any, person: Any
) -> None:
    now = FakeClock().now()
    item = IntakeItem(notification_id="n", notification=notify(channels=["email"]))
    profile = person()
    for rule in objecting:
        RULES[rule][1](item, profile, now)
    reason = decide(item, profile, now).channels[0].reason
    assert reason == (RULES[min(objecting)][0] if objecting else "")
