from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1.notification_event_pb2 import EventChunk
from clarion.router.admission import MOST_LEVELS, AdmissionLimits, objections
from clarion.runtime.testing import FakeClock

NOW = FakeClock().now()
LIMITS = AdmissionLimits(("push", "email"), 65_536, timedelta(days=30))
HOUR = timedelta(hours=1)


def nested(levels: int, leaf: Any = 1) -> dict[str, Any]:
    value: Any = leaf
    for _ in range(levels - 1):
        value = {"a": value}
    return {"a": value}


def found(notification: Any) -> list[tuple[str, str]]:
    wrong = objections(notification, LIMITS, NOW, "notification")
    return [(violation.field, violation.reason) for violation in wrong]


GOOD: tuple[dict[str, Any], ...] = (
    {},
    {"title": "", "message": "x"},
    {"title": "", "template_id": "welcome"},
    {"channels": ["push", "email"]},
    {"scheduled_at": NOW - 100 * HOUR},
    {"scheduled_at": NOW + timedelta(days=30)},
    {"expires_at": NOW + timedelta(microseconds=1)},
    {"scheduled_at": NOW + HOUR, "expires_at": NOW + 2 * HOUR},
    {"scheduled_at": NOW - HOUR, "expires_at": NOW + HOUR},
    {"data": nested(MOST_LEVELS)},
    {"data": {"n": [None, True, 1e308, "x", [], {}]}},
)


@pytest.mark.parametrize("fields", GOOD)
def test_nothing_stands_against_it(fields: dict[str, Any], notify: Any) -> None:
    assert found(notify(**fields)) == []


BAD: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"channels": ["push", "fax"]}, "channels[1]", "channel.unknown"),
    ({"title": ""}, "title", "title.required"),
    ({"scheduled_at": NOW + 721 * HOUR}, "scheduled_at", "scheduled_at.too_late"),
    ({"expires_at": NOW}, "expires_at", "expires_at.too_early"),
    (
        {"scheduled_at": NOW + HOUR, "expires_at": NOW + HOUR},
        "expires_at",
        "expires_at.too_early",
    ),
    ({"scheduled_at": Timestamp(seconds=10**15)}, "scheduled_at", "instant"),
    ({"scheduled_at": Timestamp(nanos=-1)}, "scheduled_at", "instant"),
    ({"expires_at": Timestamp(seconds=-(10**15))}, "expires_at", "instant"),
    ({"expires_at": Timestamp(nanos=10**9)}, "expires_at", "instant"),
    ({"data": nested(MOST_LEVELS + 1)}, "data", "data.depth"),
    ({"data": nested(2, [float("nan")])}, "data", "data.finite"),
    ({"data": {"n": float("-inf")}}, "data", "data.finite"),
    ({"data": {"blob": "x" * 65_536}}, "data", "size"),
    ({"message": "ü" * 8192, "data": {"blob": "x" * 50_000}}, "data", "size"),
    ({"tags": {str(n): "x" * 5000 for n in range(14)}}, "tags", "size"),
)


@pytest.mark.parametrize(("fields", "field", "rule"), BAD)
def test_what_stands_against_it_names_the_field(
    fields: dict[str, Any], field: str, rule: str, notify: Any
) -> None:
    assert found(notify(**fields)) == [(f"notification.{field}", rule)]


def test_every_wrong_field_is_named(notify: Any) -> None:
    notification = notify(channels=["fax", "pigeon"], title="", expires_at=NOW)
    assert [field for field, _ in found(notification)] == [
        "notification.channels[0]",
        "notification.channels[1]",
        "notification.title",
        "notification.expires_at",
    ]


@pytest.mark.parametrize("leaf", [1, [1], [[]]])
def test_the_deepest_data_that_is_accepted_can_be_read_from_every_chunk(
    leaf: Any, notify: Any
) -> None:
    levels = MOST_LEVELS
    while found(notify(data=nested(levels, leaf))):
        levels -= 1
    chunk = EventChunk()
    chunk.events.add().decided.notification.CopyFrom(notify(data=nested(levels, leaf)))
    assert EventChunk.FromString(chunk.SerializeToString()) == chunk


@given(tail=st.binary(max_size=200), length=st.integers(65_000, 66_000))
def test_the_limit_is_of_the_encoded_size(
    tail: bytes, length: int, notify: Any
) -> None:
    notification = notify(data={"blob": "x" * length, "tail": tail.hex()})
    too_large = notification.ByteSize() > LIMITS.max_bytes
    assert bool(found(notification)) is too_large
