from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict

from clarion.api.recipients.v1.recipient_pb2 import CriticalType, Preferences
from clarion.recipients.critical_types import shown
from clarion.recipients.preference_values import value_of
from clarion.recipients.preferences import (
    effective,
    is_bare,
    merged,
    violations,
    with_built_in,
)

QUIET = {"start": "22:00", "end": "08:00", "timezone": "UTC"}
# stored, change, result
MERGES = {
    "nothing given keeps all": ({"push_enabled": False}, {}, {"push_enabled": False}),
    "a switch is replaced": (
        {"push_enabled": False, "sms_enabled": False},
        {"push_enabled": True},
        {"push_enabled": True, "sms_enabled": False},
    ),
    "a category is added to the others": (
        {"categories": {"promotional": False}},
        {"categories": {"security": True}},
        {"categories": {"promotional": False, "security": True}},
    ),
    "a limit takes the place of the one of that name": (
        {"frequency_limits": {"promotional": {"daily": 3, "weekly": 10}}},
        {"frequency_limits": {"promotional": {"daily": 1}}},
        {"frequency_limits": {"promotional": {"daily": 1}}},
    ),
    "channels of a category are replaced as a whole": (
        {"category_channels": {"news": {"channels": {"sms": False, "push": False}}}},
        {"category_channels": {"news": {"channels": {"email": True}}}},
        {"category_channels": {"news": {"channels": {"email": True}}}},
    ),
    "quiet hours are replaced as a whole": (
        {"quiet_hours": QUIET},
        {"quiet_hours": {"start": "23:00", "end": "07:00"}},
        {"quiet_hours": {"start": "23:00", "end": "07:00"}},
    ),
    "empty quiet hours are kept as a wish for none": (
        {"quiet_hours": QUIET},
        {"quiet_hours": {"timezone": "UTC"}},
        {"quiet_hours": {}},
    ),
    "what the service keeps cannot be given": (
        {},
        {"user_id": "u", "version": "9", "push_enabled": False},
        {"push_enabled": False},
    ),
}


def message(fields: dict[str, object]) -> Preferences:
    return ParseDict(fields, Preferences())


@pytest.mark.parametrize(
    ("stored", "change", "result"), MERGES.values(), ids=MERGES.keys()
)
def test_a_change_is_merged(
    stored: dict[str, object], change: dict[str, object], result: dict[str, object]
) -> None:
    assert merged(message(stored), message(change)) == message(result)


def test_built_in_every_channel_is_on_and_there_are_no_limits() -> None:
    filled = with_built_in(message({"sms_enabled": False, "quiet_hours": {}}))
    assert filled == message(
        {
            "push_enabled": True,
            "email_enabled": True,
            "sms_enabled": False,
            "in_app_enabled": True,
            "inherited": ["push_enabled", "email_enabled", "in_app_enabled"],
        }
    )


EARLY = {"start": "20:00", "end": "06:00", "timezone": "Europe/Berlin"}
NEWS = "category_channels.news"
# own, defaults, in effect, inherited
EFFECTIVE = {
    "nothing": ({}, {}, {}, []),
    "a switch of the defaults": (
        {},
        {"push_enabled": False},
        {"push_enabled": False},
        ["push_enabled"],
    ),
    "a switch of one's own": (
        {"push_enabled": True},
        {"push_enabled": False},
        {"push_enabled": True},
        [],
    ),
    "categories one by one": (
        {"categories": {"a": True}},
        {"categories": {"a": False, "b": False}},
        {"categories": {"a": True, "b": False}},
        ["categories.b"],
    ),
    "channels of a category one by one": (
        {"category_channels": {"news": {"channels": {"sms": True}}}},
        {"category_channels": {"news": {"channels": {"sms": False, "push": False}}}},
        {"category_channels": {"news": {"channels": {"sms": True, "push": False}}}},
        [f"{NEWS}.push"],
    ),
    "a category that only the defaults know": (
        {},
        {"category_channels": {"news": {"channels": {"sms": False}}}},
        {"category_channels": {"news": {"channels": {"sms": False}}}},
        [f"{NEWS}.sms"],
    ),
    "limits as a whole": (
        {"frequency_limits": {"a": {"daily": 1}}},
        {"frequency_limits": {"a": {"weekly": 5}, "b": {"weekly": 2}}},
        {"frequency_limits": {"a": {"daily": 1}, "b": {"weekly": 2}}},
        ["frequency_limits.b"],
    ),
    "quiet hours of the defaults": (
        {},
        {"quiet_hours": EARLY},
        {"quiet_hours": EARLY},
        ["quiet_hours"],
    ),
    "quiet hours of one's own, in one's own zone": (
        {"quiet_hours": {"start": "23:00", "end": "07:00"}},
        {"quiet_hours": EARLY},
        {"quiet_hours": {"start": "23:00", "end": "07:00"}},
        [],
    ),
    "no quiet hours, because one said so": (
        {"quiet_hours": {}},
        {"quiet_hours": EARLY},
        {},
        [],
    ),
}


@pytest.mark.parametrize(
    ("own", "defaults", "expected", "inherited"),
    EFFECTIVE.values(),
    ids=EFFECTIVE.keys(),
)
def test_what_is_in_effect_is_ones_own_and_else_the_defaults(
    own: dict[str, object],
    defaults: dict[str, object],
    expected: dict[str, object],
    inherited: list[str],
) -> None:
    before = message({**own, "user_id": "u", "version": 4})
    found = effective(before, message({**defaults, "version": 7}))
    wanted = {"user_id": "u", "version": 4, "defaults_version": 7}
    assert found == message({**expected, **wanted, "inherited": inherited})
    assert before == message({**own, "user_id": "u", "version": 4})
    assert all(value_of(name) for name in found.inherited)


@pytest.mark.parametrize(
    ("own", "defaults", "expected", "inherited"),
    EFFECTIVE.values(),
    ids=EFFECTIVE.keys(),
)
def test_what_was_read_can_be_written_back_without_keeping_the_defaults(
    own: dict[str, object],
    defaults: dict[str, object],
    expected: dict[str, object],
    inherited: list[str],
) -> None:
    shown_ = with_built_in(effective(message(own), message(defaults)))
    stored = merged(message(own), shown_, message(defaults))
    assert stored == message(own)
    shown_.email_enabled = False
    edited = merged(message(own), shown_, message(defaults))
    assert edited == message({**own, "email_enabled": False})


DEFAULTS = {"push_enabled": False, "categories": {"a.b": False}}
# own, change, own afterwards
RETURNS = {
    "what is inherited and not given is one's own no more": (
        {"push_enabled": True, "categories": {"a.b": True, "c": False}},
        {"inherited": ["push_enabled", "categories.a.b"]},
        {"categories": {"c": False}},
    ),
    "what differs from the defaults becomes one's own": (
        {},
        {"push_enabled": True, "inherited": ["push_enabled"]},
        {"push_enabled": True},
    ),
    "what is the same without being named is one's own": (
        {},
        {"push_enabled": False},
        {"push_enabled": False},
    ),
    "the last channel takes its category with it": (
        {"category_channels": {"news": {"channels": {"sms": False}}}},
        {"inherited": ["category_channels.news.sms"]},
        {},
    ),
}


@pytest.mark.parametrize(("own", "change", "after"), RETURNS.values(), ids=RETURNS)
def test_a_value_goes_back_to_the_defaults_by_its_name(
    own: dict[str, object], change: dict[str, object], after: dict[str, object]
) -> None:
    assert merged(message(own), message(change), message(DEFAULTS)) == message(after)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "user_id",
        "categories",
        "categories.",
        "category_channels.sms",
        "quiet",
        "x.y",
    ],
)
def test_only_values_have_names(name: str) -> None:
    assert value_of(name) is None
    found = violations(message({"inherited": ["quiet_hours", name]}), "u")
    assert [violation.field for violation in found] == ["preferences.inherited[1]"]


def test_defaults_that_say_nothing_are_bare() -> None:
    assert is_bare(message({"version": 3, "updated_time": "2026-01-01T00:00:00Z"}))
    assert not is_bare(message({"quiet_hours": {}}))


CRITICAL = [
    CriticalType(type="security_alert", category="security"),
    CriticalType(type="password_reset", category="security"),
    CriticalType(type="fraud", category="fraud"),
]
# preferences, (field, reason, types) of each warning
WARNINGS = {
    "nothing is off": ({"categories": {"security": True}}, []),
    "another category": ({"categories": {"promotional": False}}, []),
    "a channel": ({"push_enabled": False}, []),
    "a critical type": (
        {"categories": {"security_alert": False}},
        [("categories.security_alert", "critical_type", ["security_alert"])],
    ),
    "a type that is its own category": (
        {"categories": {"fraud": False}},
        [("categories.fraud", "critical_type", ["fraud"])],
    ),
    "a category with critical types": (
        {"categories": {"security": False}},
        [
            (
                "categories.security",
                "critical_category",
                ["security_alert", "password_reset"],
            )
        ],
    ),
    "a critical type on one channel": (
        {"category_channels": {"fraud": {"channels": {"sms": False, "push": True}}}},
        [("category_channels.fraud.sms", "critical_type", ["fraud"])],
    ),
}


@pytest.mark.parametrize(("fields", "expected"), WARNINGS.values(), ids=WARNINGS)
def test_a_switch_without_effect_is_told(
    fields: dict[str, object], expected: list[tuple[str, str, list[str]]]
) -> None:
    found = shown(message(fields), CRITICAL)
    assert [(w.field, w.reason, list(w.types)) for w in found.warnings] == expected
    assert list(found.critical_types) == CRITICAL


def test_it_is_told_when_the_critical_types_are_not_known() -> None:
    (warning,) = shown(message({}), None).warnings
    assert warning.reason == "critical_types_unknown"
    assert not shown(message({}), []).warnings


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (
            {"quiet_hours": {**QUIET, "timezone": "Mars/Olympus"}},
            "quiet_hours.timezone",
        ),
        ({"quiet_hours": {**QUIET, "timezone": "utc "}}, "quiet_hours.timezone"),
        ({"user_id": "other"}, "user_id"),
        (
            {"category_channels": {"news": {"channels": {"fax": True}}}},
            'category_channels["news"].channels["fax"]',
        ),
    ],
)
def test_a_wrong_change_names_its_field(change: dict[str, object], field: str) -> None:
    found = violations(message(change), "u")
    assert [violation.field for violation in found] == [f"preferences.{field}"]
