from __future__ import annotations

from itertools import product

import pytest
from google.protobuf.json_format import ParseDict

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.router.wishes import unwanted

NAMES = ("order_confirmation", "order_updates")
TYPE, CATEGORY = NAMES
ON, OFF = True, False
NO_CATEGORY = "category_disabled"
NO_CHANNEL = "channel_disabled"
NO_CATEGORY_CHANNEL = "category_channel_disabled"


def message(fields: dict[str, object]) -> Preferences:
    return ParseDict(fields, Preferences())


def names(**wanted: bool) -> dict[str, object]:
    return {"categories": wanted}


def channels(name: str, **wanted: bool) -> dict[str, object]:
    return {name: {"channels": wanted}}


# preferences, reason on email
TABLE = {
    "nothing is said": ({}, ""),
    "the category is off": (names(order_updates=OFF), NO_CATEGORY),
    "the type is off": (names(order_confirmation=OFF), NO_CATEGORY),
    "the type is on in a category that is off": (
        names(order_confirmation=ON, order_updates=OFF),
        "",
    ),
    "the type is off in a category that is on": (
        names(order_confirmation=OFF, order_updates=ON),
        NO_CATEGORY,
    ),
    "another type is off": (names(order_shipped=OFF), ""),
    "the category is off on the channel": (
        {"category_channels": channels(CATEGORY, email=OFF)},
        NO_CATEGORY_CHANNEL,
    ),
    "the category is off on another channel": (
        {"category_channels": channels(CATEGORY, sms=OFF)},
        "",
    ),
    "the category is off but for the channel": (
        {
            **names(order_updates=OFF),
            "category_channels": channels(CATEGORY, email=ON),
        },
        "",
    ),
    "the category is on but for the channel": (
        {
            **names(order_updates=ON),
            "category_channels": channels(CATEGORY, email=OFF),
        },
        NO_CATEGORY_CHANNEL,
    ),
    "the type is on in a category that is off on the channel": (
        {
            **names(order_confirmation=ON),
            "category_channels": channels(CATEGORY, email=OFF),
        },
        "",
    ),
    "the type is off in a category that is on on the channel": (
        {
            **names(order_confirmation=OFF),
            "category_channels": channels(CATEGORY, email=ON),
        },
        NO_CATEGORY,
    ),
    "the type is off but for the channel": (
        {
            **names(order_confirmation=OFF, order_updates=OFF),
            "category_channels": channels(TYPE, email=ON),
        },
        "",
    ),
    "the type is on but for the channel": (
        {
            **names(order_confirmation=ON, order_updates=ON),
            "category_channels": channels(TYPE, email=OFF),
        },
        NO_CATEGORY_CHANNEL,
    ),
    "the channel is off, whatever is on": (
        {
            "email_enabled": OFF,
            **names(order_confirmation=ON),
            "category_channels": channels(TYPE, email=ON),
        },
        NO_CHANNEL,
    ),
    "the channel is on": ({"email_enabled": ON, **names(order_updates=ON)}, ""),
}


@pytest.mark.parametrize(("fields", "reason"), TABLE.values(), ids=TABLE)
def test_the_most_specific_switch_wins(fields: dict[str, object], reason: str) -> None:
    assert unwanted(message(fields), NAMES, "email") == reason


def test_of_four_switches_the_first_that_is_set_decides() -> None:
    for typed_channel, typed, channel, category in product((None, ON, OFF), repeat=4):
        preferences = Preferences()
        for name, on_channel, in_general in (
            (TYPE, typed_channel, typed),
            (CATEGORY, channel, category),
        ):
            if on_channel is not None:
                preferences.category_channels[name].channels["sms"] = on_channel
            if in_general is not None:
                preferences.categories[name] = in_general
        said = (typed_channel, typed, channel, category)
        first = next((one for one in said if one is not None), ON)
        assert bool(unwanted(preferences, NAMES, "sms")) is (first is OFF)


def test_a_type_with_the_name_of_its_category_is_looked_up_once() -> None:
    preferences = message(names(news=OFF))
    assert unwanted(preferences, ("news",), "push") == NO_CATEGORY
    preferences.category_channels["news"].channels["push"] = True
    assert unwanted(preferences, ("news",), "push") == ""
    assert unwanted(preferences, ("news",), "email") == NO_CATEGORY


def test_looking_adds_nothing_to_the_maps() -> None:
    preferences = message({"category_channels": channels("other", sms=OFF)})
    assert unwanted(preferences, NAMES, "sms") == ""
    assert list(preferences.category_channels) == ["other"]


# preferences, what of them is the defaults', reason on email
INHERITED = {
    "the defaults switch the category off": (
        names(order_updates=OFF),
        ["categories.order_updates"],
        NO_CATEGORY,
    ),
    "the person's category off beats the defaults' type on": (
        names(order_confirmation=ON, order_updates=OFF),
        ["categories.order_confirmation"],
        NO_CATEGORY,
    ),
    "the person's category on beats the defaults' type off": (
        names(order_confirmation=OFF, order_updates=ON),
        ["categories.order_confirmation"],
        "",
    ),
    "of the defaults the most specific wins": (
        names(order_confirmation=ON, order_updates=OFF),
        ["categories.order_confirmation", "categories.order_updates"],
        "",
    ),
    "the defaults switch the channel off": (
        {"email_enabled": OFF},
        ["email_enabled"],
        NO_CHANNEL,
    ),
    "the person asks for the category on a channel that the defaults switch off": (
        {"email_enabled": OFF, "category_channels": channels(CATEGORY, email=ON)},
        ["email_enabled"],
        "",
    ),
    "both are the defaults'": (
        {"email_enabled": OFF, "category_channels": channels(CATEGORY, email=ON)},
        ["email_enabled", f"category_channels.{CATEGORY}.email"],
        NO_CHANNEL,
    ),
    "wanting the category is not asking for the channel": (
        {"email_enabled": OFF, **names(order_updates=ON)},
        ["email_enabled"],
        NO_CHANNEL,
    ),
    "the person has the type off and the category on on the channel": (
        {
            "email_enabled": OFF,
            **names(order_confirmation=OFF),
            "category_channels": channels(CATEGORY, email=ON),
        },
        ["email_enabled"],
        NO_CHANNEL,
    ),
}


@pytest.mark.parametrize(
    ("fields", "inherited", "reason"), INHERITED.values(), ids=INHERITED
)
def test_what_the_person_says_comes_before_the_defaults(
    fields: dict[str, object], inherited: list[str], reason: str
) -> None:
    preferences = message({**fields, "inherited": inherited})
    assert unwanted(preferences, NAMES, "email") == reason
