from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients.preferences import merged, violations, with_defaults

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
    "empty quiet hours clear them": (
        {"quiet_hours": QUIET},
        {"quiet_hours": {}},
        {},
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


def test_defaults_switch_every_channel_on_and_invent_no_limits() -> None:
    filled = with_defaults(message({"sms_enabled": False}))
    assert filled == message(
        {
            "push_enabled": True,
            "email_enabled": True,
            "sms_enabled": False,
            "in_app_enabled": True,
        }
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (
            {"quiet_hours": {**QUIET, "timezone": "Mars/Olympus"}},
            "quiet_hours.timezone",
        ),
        ({"quiet_hours": {**QUIET, "timezone": "utc "}}, "quiet_hours.timezone"),
        ({"user_id": "other"}, "user_id"),
    ],
)
def test_a_wrong_change_names_its_field(change: dict[str, object], field: str) -> None:
    found = violations(message(change), "u")
    assert [violation.field for violation in found] == [f"preferences.{field}"]
