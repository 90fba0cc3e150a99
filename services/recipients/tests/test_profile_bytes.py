from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.struct_pb2 import Struct

from clarion.api.recipients.v1.recipient_pb2 import Device, Preferences, Recipient
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsResponse,
    RecipientProfile,
)
from clarion.recipients import profile_bytes

TIMES = [
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
]
TEXTS = ["", "plain", "ümläut ß", "\U0001f600", "ÿ", "x" * 127, "x" * 128, "é" * 9000]


def sent(time: datetime) -> bytes:
    micros = (time - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return micros.to_bytes(8, "big", signed=True)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("count", [0, 1, 20])
def test_the_bytes_are_those_of_the_message(
    text: str, time: datetime, count: int
) -> None:
    attributes = Struct()
    attributes.update({"plan": text, "seats": 3})
    rest = RecipientProfile(preferences=Preferences(user_id=text, sms_enabled=False))
    wanted = RecipientProfile(
        found=True,
        recipient=Recipient(
            user_id=text,
            email=text,
            phone_number="+14155550100",
            display_name=text,
            locale="de-AT",
            time_zone="Europe/Vienna",
            attributes=attributes,
            devices=[
                Device(device_id=text, platform="ios", token=text, app_id=text)
                for _ in range(count)
            ],
        ),
    )
    wanted.recipient.updated_time.FromDatetime(time)
    for one in wanted.recipient.devices:
        one.last_seen_time.FromDatetime(time)
        one.registered_time.FromDatetime(time)
    wanted.MergeFrom(rest)
    times = profile_bytes.Times()

    device = profile_bytes.device(
        (text, text, "ios", text, text, sent(time), sent(time)), times
    )
    made = profile_bytes.response(
        (
            *(text, text, "+14155550100", text, "de-AT", "Europe/Vienna"),
            *(attributes.SerializeToString(), sent(time)),
        ),
        [device] * count,
        rest.SerializeToString(),
        times,
    )

    assert BatchGetRecipientsResponse.FromString(made).profiles == [wanted]


def test_a_person_without_attributes_has_none() -> None:
    made = profile_bytes.response(
        ("u", "", "", "", "", "", b"", sent(TIMES[0])), [], b"", profile_bytes.Times()
    )
    (profile,) = BatchGetRecipientsResponse.FromString(made).profiles

    assert not profile.recipient.HasField("attributes")
    assert not profile.HasField("preferences")


def test_who_is_not_known_has_an_empty_profile() -> None:
    answer = BatchGetRecipientsResponse.FromString(profile_bytes.UNKNOWN)

    assert answer.profiles == [RecipientProfile()]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("version", [1, 127, 128, 70_000, 2**40])
def test_preferences_are_those_stored_with_who_and_when(
    time: datetime, version: int
) -> None:
    stored = Preferences(sms_enabled=False, categories={"ümläut": True})
    wanted = Preferences(user_id="ü", version=version)
    wanted.MergeFrom(stored)
    wanted.updated_time.FromDatetime(time)
    made = profile_bytes.preferences(
        "ü", stored.SerializeToString(), version, sent(time), profile_bytes.Times()
    )
    assert RecipientProfile.FromString(made) == RecipientProfile(preferences=wanted)
