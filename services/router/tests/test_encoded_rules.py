from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireResult
from clarion.api.recipients.v1.recipient_pb2 import ChannelSwitches, QuietHours
from clarion.router import encoded_rules as module
from clarion.router.deciding import decide
from clarion.router.encoded_rules import encoded_rules_of
from clarion.router.looked_at import encoded
from clarion.router.notification_types import DEFER, IGNORE, TypePolicy
from clarion.router.permits import apply_permit
from clarion.router.rules import rules_of
from clarion.runtime.testing import FakeClock

NOW = FakeClock().now()
CHANNELS = ["push", "email", "sms", "in_app"]
NAMES = ["comment", "social"]
SWITCHES = [f"{channel}_enabled" for channel in CHANNELS]
VALUES = [*SWITCHES, *(f"categories.{name}" for name in NAMES), "quiet_hours"]
ALWAYS, NEVER = ("00:00", "23:59"), ("00:00", "00:00")

preferences = st.fixed_dictionaries(
    {},
    optional={
        **{switch: st.booleans() for switch in SWITCHES},
        "categories": st.dictionaries(st.sampled_from(NAMES), st.booleans()),
        "category_channels": st.dictionaries(
            st.sampled_from(NAMES),
            st.builds(
                ChannelSwitches,
                channels=st.dictionaries(st.sampled_from(CHANNELS), st.booleans()),
            ),
        ),
        "quiet_hours": st.builds(
            lambda span, zone: QuietHours(start=span[0], end=span[1], timezone=zone),
            st.sampled_from([ALWAYS, NEVER, ("03:00", "03:01"), ("", "")]),
            st.sampled_from(["", "UTC", "Asia/Tokyo"]),
        ),
        "inherited": st.lists(st.sampled_from(VALUES), unique=True),
        "version": st.integers(0, 9),
    },
)


@given(
    said=preferences,
    zone=st.sampled_from(["", "Europe/Berlin"]),
    channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=4, unique=True),
    priority=st.sampled_from(["", "high", "low"]),
    category=st.sampled_from(["", *NAMES]),
    critical=st.booleans(),
    quiet_hours_policy=st.sampled_from([DEFER, IGNORE]),
    used=st.none() | st.integers(0, 3),
    expires=st.booleans(),
)
@settings(max_examples=600)
def test_what_is_kept_says_what_is_put_into_words_anew(
    said: dict[str, Any],
    zone: str,
    channels: list[str],
    priority: str,
    category: str,
    critical: bool,
    quiet_hours_policy: str,
    used: int | None,
    expires: bool,
    notify: Any,
    person: Any,
) -> None:
    fields = {"channels": channels, "priority": priority, "category": category}
    item = IntakeItem(notification=notify(**fields))
    if expires:
        item.notification.expires_at.FromDatetime(NOW.replace(year=NOW.year + 1))
    profile = person(**said)
    profile.recipient.time_zone = zone
    policy = TypePolicy(
        "social", critical=critical, quiet_hours_policy=quiet_hours_policy
    )
    plan = decide(item, profile, NOW, policy)
    if used is not None:
        permit = AcquireResult(allowed=True, daily_used=used, weekly_used=used)
        apply_permit(plan, permit, NOW)

    in_words = encoded(rules_of(plan))
    assert encoded_rules_of(plan) == in_words
    assert encoded_rules_of(plan) == in_words


def test_nothing_that_the_rules_saw_is_taken_for_the_same(
    notify: Any, person: Any, monkeypatch: Any
) -> None:
    """Each differs from the first in one thing alone."""
    monkeypatch.setattr(module, "_kept", {})
    at_night = QuietHours(start="03:00", end="03:01")
    start: dict[str, Any] = {"quiet_hours": at_night, "push_enabled": True}
    said = [
        start,
        *({**start, switch: True} for switch in SWITCHES),
        {"quiet_hours": at_night},
        *({**start, "categories": {name: True}} for name in NAMES),
        {"push_enabled": True},
        {**start, "quiet_hours": QuietHours(start="03:01", end="03:02")},
        {**start, "quiet_hours": QuietHours(start="03:00", end="03:02")},
        {
            **start,
            "quiet_hours": QuietHours(start="03:00", end="03:01", timezone="UTC"),
        },
        *({**start, "inherited": [value]} for value in ("push_enabled", "quiet_hours")),
    ]
    asked = [{}, {"priority": "high"}, {"category": "comment"}, {"channels": ["sms"]}]
    policies = [
        TypePolicy("social"),
        TypePolicy("social", critical=True),
        TypePolicy("social", quiet_hours_policy=IGNORE),
    ]
    for wishes, fields, policy, zone in itertools.product(
        said, asked, policies, ("UTC", "Europe/Berlin")
    ):
        item = IntakeItem(notification=notify(**{"channels": ["push"], **fields}))
        profile = person(**wishes)
        profile.recipient.time_zone = zone
        plan = decide(item, profile, NOW, policy)
        assert plan.is_plain
        assert encoded_rules_of(plan) == encoded(rules_of(plan)), (wishes, fields)


def test_people_with_the_same_wishes_share_their_words(
    notify: Any, person: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "_kept", {})
    item = IntakeItem(notification=notify(channels=["push"]))
    for number in range(50):
        profile = person(f"user-{number}", push_enabled=True, version=number + 1)
        encoded_rules_of(decide(item, profile, NOW))
    assert len(module._kept) == 1


def test_only_so_many_are_kept(notify: Any, person: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_kept", {})
    monkeypatch.setattr(module, "_MOST_KEPT", 10)
    item = IntakeItem(notification=notify(channels=["push"]))
    for number in range(50):
        profile = person(version=1)
        profile.preferences.quiet_hours.timezone = f"Etc/GMT+{number}"
        encoded_rules_of(decide(item, profile, NOW))
    assert 0 < len(module._kept) <= 10
