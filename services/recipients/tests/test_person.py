from __future__ import annotations

import pytest

from clarion.api.recipients.v1.recipient_pb2 import Device, Recipient
from clarion.recipients.addresses import digest, normalised
from clarion.recipients.person import devices_of, last_of_each, normalise


def person(user_id: str, *devices: tuple[str, str]) -> Recipient:
    return Recipient(
        user_id=user_id,
        devices=[
            Device(device_id=device_id, token=token, platform="ios")
            for device_id, token in devices
        ],
    )


def test_every_wrong_field_is_named() -> None:
    wrong = Recipient(phone_number="12", time_zone="Nowhere")
    found = normalise(wrong, "recipients[3]")
    assert [violation.field for violation in found] == [
        "recipients[3].phone_number",
        "recipients[3].time_zone",
    ]


def test_an_instant_that_does_not_exist_is_named() -> None:
    wrong = person("u", ("", "t"))
    wrong.devices[0].last_seen_time.seconds = 10**15
    found = normalise(wrong, "recipient")
    assert [v.field for v in found] == ["recipient.devices[0].last_seen_time"]


def test_a_device_without_id_gets_the_same_one_every_time() -> None:
    first, second = person("u", ("", "t")), person("v", ("", "t"))
    normalise(first, "recipient")
    normalise(second, "recipient")
    assert first.devices[0].device_id == second.devices[0].device_id != ""


def test_of_people_with_one_id_the_last_counts() -> None:
    people = [
        Recipient(user_id="b", locale="de"),
        Recipient(user_id="a"),
        Recipient(user_id="b", locale="en"),
    ]
    assert [(p.user_id, p.locale) for p in last_of_each(people)] == [
        ("a", ""),
        ("b", "en"),
    ]


DEVICES = {
    "one token of two people belongs to the last": (
        [person("a", ("d", "t")), person("b", ("d", "t"))],
        [("b", "d", "t")],
    ),
    "a device given twice has its last token": (
        [person("a", ("d", "t1"), ("d", "t2"))],
        [("a", "d", "t2")],
    ),
    "a token given twice has its last device": (
        [person("a", ("d1", "t"), ("d2", "t"))],
        [("a", "d2", "t")],
    ),
    "a token that moved on frees its device": (
        [person("a", ("d1", "t"), ("d2", "t"), ("d1", "s"))],
        [("a", "d1", "s"), ("a", "d2", "t")],
    ),
}


@pytest.mark.parametrize(("people", "kept"), DEVICES.values(), ids=DEVICES.keys())
def test_tokens_and_devices_are_unique(
    people: list[Recipient], kept: list[tuple[str, str, str]]
) -> None:
    found = [
        (user, device.device_id, device.token) for user, device in devices_of(people)
    ]
    assert found == kept


@pytest.mark.parametrize(
    ("channel", "one", "other"),
    [
        ("email", "Ann@Example.com", "ann@example.COM"),
        ("sms", "+1 415 555 0123", "+14155550123"),
        ("sms", " 12345 ", "12345"),
    ],
)
def test_spellings_of_one_address_compare_equal(
    channel: str, one: str, other: str
) -> None:
    assert digest(normalised(channel, one)) == digest(normalised(channel, other))


def test_a_push_token_keeps_its_case() -> None:
    assert normalised("push", "AbC") == "AbC"
