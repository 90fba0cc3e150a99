"""Ids and waits: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from clarion.runtime.ids import (
    delivery_id,
    derived,
    event_id,
    notification_id_for_key,
    uuid7,
)
from clarion.runtime.retry import backoff, ceiling

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_new_id_is_a_uuid_of_version_7_that_sorts_by_time():
    first, second = uuid7(NOW), uuid7(NOW + timedelta(milliseconds=1))

    assert UUID(first).version == 7
    assert UUID(first).variant == UUID(second).variant == "specified in RFC 4122"
    assert first < second
    assert int(UUID(first)) >> 80 == int(NOW.timestamp() * 1000)


def test_derived_ids_never_change():
    # These are in people's databases: a change would send everything again.
    assert (
        notification_id_for_key("demo", "k1") == "b96b2137-e9c3-5bf1-adf3-205491673bfe"
    )
    assert delivery_id("n", "push", "t") == "02f3935b-d23f-5e34-990c-0e6630869e18"
    assert event_id("d", "delivered") == "57228d8a-d2ae-5f39-a98b-a7451dc66b57"


@given(st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_a_derived_id_is_a_uuid_of_version_5(parts):
    assert UUID(derived("kind", *parts)).version == 5


def test_parts_do_not_run_into_each_other():
    assert delivery_id("a", "bc", "d") != delivery_id("ab", "c", "d")
    assert notification_id_for_key("t", "k") != derived("delivery", "t", "k")


def test_the_wait_doubles_up_to_its_cap():
    first, most = timedelta(seconds=1), timedelta(seconds=5)

    waits = [ceiling(n, first=first, most=most).total_seconds() for n in range(1, 6)]

    assert waits == [1, 2, 4, 5, 5]
    assert ceiling(10_000, first=first, most=most) == most


def test_jitter_is_full():
    assert backoff(3, chance=lambda: 0.0) == timedelta()
    assert backoff(3, chance=lambda: 0.5) == timedelta(milliseconds=200)


def test_a_wait_that_was_asked_for_is_kept():
    asked = timedelta(seconds=7)

    assert backoff(1, at_least=asked, chance=lambda: 0.5) == asked + timedelta(
        milliseconds=50
    )
