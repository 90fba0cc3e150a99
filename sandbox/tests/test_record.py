from __future__ import annotations

import json
import uuid

from clarion.sandbox.record import Arrival, Filter, Store


def arrival(recipient: str, delivery: str = "d", raw: bytes = b"{}") -> Arrival:
    notification = str(uuid.uuid4())
    return Arrival("fcm", "push", recipient, notification, delivery, raw, json.loads)


def test_the_ring_keeps_the_newest_and_the_counters_keep_all() -> None:
    store = Store(full_records=3)
    for number in range(10):
        store.add(arrival(f"r{number}"), "accepted", accepted=True)
    assert [r.arrival.recipient for r in store.find(Filter(), 9)] == ["r9", "r8", "r7"]
    assert store.summary()["accepted"]["total"] == 10
    assert store.arrivals_kept == 10


def test_the_ring_is_bounded_by_bytes_too() -> None:
    store = Store(full_bytes=100)
    for number in range(10):
        store.add(arrival(f"r{number}", raw=b"x" * 40), "accepted", accepted=True)
    assert len(store.find(Filter(), 99)) == 2


def test_brief_records_over_the_limit_are_counted_as_dropped() -> None:
    store = Store(brief_records=2)
    for _ in range(5):
        store.add(arrival("r"), "accepted", accepted=True)
    assert store.summary()["arrivals"] == {"kept": 2, "dropped": 3}


def test_ids_come_back_as_given_whether_uuid_or_not() -> None:
    store = Store()
    upper = str(uuid.uuid4()).upper()
    plain = str(uuid.uuid4())
    for delivery in (plain, upper, "", "not a uuid", "ü" * 36):
        store.add(arrival("r", delivery), "accepted", accepted=True)
    got = [delivery for _, delivery, _, _ in store.arrivals(0, 99)]
    assert got == [plain, upper, "", "not a uuid", "ü" * 36]


def test_refused_messages_are_no_arrivals() -> None:
    store = Store()
    store.add(arrival("r"), "UNREGISTERED", accepted=False)
    assert store.arrivals_kept == 0
    assert store.summary()["outcomes"] == {"fcm": {"UNREGISTERED": 1}}


def test_a_cursor_follows_from_oldest_to_newest() -> None:
    store = Store(full_records=4)
    for number in range(6):
        store.add(arrival(f"r{number}"), "accepted", accepted=True)
    names = [r.arrival.recipient for r in store.find(Filter(after=4), 9)]
    assert names == ["r4", "r5"]
    names = [r.arrival.recipient for r in store.find(Filter(after=0), 2)]
    assert names == ["r2", "r3"]


def test_filters_combine() -> None:
    store = Store()
    for name in ("a", "b", "a"):
        store.add(arrival(name), "accepted", accepted=True)
    assert len(store.find(Filter(provider="fcm", recipient="a"), 9)) == 2
    assert store.find(Filter(channel="sms"), 9) == []
