from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.api.event.v1.work_pb2 import DigestFold
from clarion.router.digests.in_memory import InMemoryDigestTable
from clarion.router.digests.table import Closing, Entry
from clarion.router.digests.windows import (
    LATE,
    MOST_BYTES,
    MOST_ITEMS,
    DigestPolicy,
    Wait,
    read,
    wait_of,
    write,
)

NOW = datetime(2027, 3, 27, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def fold(id: str, wait: Wait, *, message: str = "", **more: Any) -> DigestFold:
    made = DigestFold(priority="medium", category="c", channels=["push"])
    made.item.notification_id = id
    made.item.tenant_id = "demo"
    made.item.accepted_time.FromDatetime(NOW)
    made.item.notification.user_id = "ada"
    made.item.notification.type = "t"
    made.item.notification.message = message
    write(wait, made)
    return made


FIXED = Wait(timedelta(seconds=60))
SLIDING = Wait(timedelta(seconds=10), timedelta(seconds=25))


@pytest.mark.parametrize(
    ("wait", "arrivals", "closes"),
    [
        (FIXED, [0], 60),
        (FIXED, [0, 0, 0], 60),
        (FIXED, [0, 30, 59.9], 60),
        (SLIDING, [0], 10),
        (SLIDING, [0, 5], 15),
        (SLIDING, [0, 5, 14], 24),
        (SLIDING, [0, 5, 14, 23], 25),
        (SLIDING, [0, 5, 14, 23, 24.9], 25),
        (Wait(closes=after(90)), [0, 40], 90),
    ],
)
async def test_a_window_closes(wait: Wait, arrivals: Any, closes: float) -> None:
    table = InMemoryDigestTable()
    for number, at in enumerate(arrivals):
        entry = Entry.of(fold(f"n{number}", wait))
        collected = await table.collect([entry], after(at))
    (held,) = table.windows.values()
    assert held.span.closes == after(closes)
    assert collected.places[entry.key].closes == after(closes)


@pytest.mark.parametrize("wait", [FIXED, SLIDING, Wait(closes=after(60))])
async def test_what_comes_when_a_window_is_over_opens_another(wait: Wait) -> None:
    table = InMemoryDigestTable()
    await table.collect([Entry.of(fold("a", wait))], NOW)
    await table.collect([Entry.of(fold("b", wait))], after(60))
    first, second = table.windows.values()
    assert (first.state, second.state) == (1, 0)
    assert second.span.closes > after(60)


async def test_what_was_held_up_beyond_its_time_is_collected_for_a_moment() -> None:
    span = Wait(closes=after(-3600)).span(NOW)
    assert span.closes == span.latest == NOW + LATE


@pytest.mark.parametrize(
    ("policy", "zone", "closes"),
    [
        (DigestPolicy("cron", cron="0 9 * * *"), "UTC", "2027-03-28T09:00"),
        (DigestPolicy("cron", cron="0 9 * * *"), "Asia/Tokyo", "2027-03-28T00:00"),
        # The clock is set forward in that night, over this time.
        (DigestPolicy("cron", cron="30 2 * * *"), "Europe/Berlin", "2027-03-28T01:00"),
        (
            DigestPolicy("cron", cron="0 9 * * *", time_zone="Europe/Berlin"),
            "Asia/Tokyo",
            "2027-03-28T07:00",
        ),
        (DigestPolicy("cron", cron="0 9 * * *"), "", "2027-03-28T09:00"),
    ],
)
def test_cron_closes_in_its_zone_or_the_persons(
    policy: DigestPolicy, zone: str, closes: str
) -> None:
    wait = wait_of(policy, zone, NOW)
    assert wait.closes == datetime.fromisoformat(closes).replace(tzinfo=UTC)


@pytest.mark.parametrize("wait", [FIXED, SLIDING, Wait(closes=after(90))])
def test_a_wait_travels(wait: Wait) -> None:
    assert read(fold("a", wait)) == wait


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([0] * (MOST_ITEMS + 1), [MOST_ITEMS, 1]),
        ([0] * (2 * MOST_ITEMS), [MOST_ITEMS, MOST_ITEMS]),
        ([20_000] * 5, [2, 2, 1]),
        ([60_000, 0, 60_000, 60_000], [1, 1, 1, 1]),
        ([0, 60_000], [1, 1]),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_full_window_closes_early(
    sizes: list[int], counts: list[int], at_once: bool
) -> None:
    table = InMemoryDigestTable()
    entries = [
        Entry.of(fold(f"{number:03}", FIXED, message="x" * size))
        for number, size in enumerate(sizes)
    ]
    for batch in [entries] if at_once else [[entry] for entry in entries]:
        await table.collect(batch, NOW)
    held = list(table.windows.values())
    assert [len(window.entries) for window in held] == counts
    for window in held:
        size = sum(entry.size for entry in window.entries)
        assert len(window.entries) == 1 or size <= MOST_BYTES
    assert all(window.state == 1 for window in held[:-1])
    assert all(window.span.closes <= NOW for window in held if window.state == 1)


waits = st.one_of(
    st.integers(1, 30).map(lambda s: Wait(timedelta(seconds=s))),
    st.tuples(st.integers(1, 10), st.integers(1, 5)).map(
        lambda t: Wait(timedelta(seconds=t[0]), timedelta(seconds=t[0] * t[1]))
    ),
    st.integers(-10, 60).map(lambda s: Wait(closes=after(s))),
)
steps = st.one_of(
    # Some come in the same millisecond, some again.
    st.tuples(st.just("arrive"), st.integers(0, 40)),
    st.tuples(st.just("pass"), st.sampled_from([0, 1, 500, 2000, 20_000])),
    st.tuples(st.just("fire"), st.integers(0, 5)),
)


@given(wait=waits, moves=st.lists(steps, max_size=60))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_when_is_in_exactly_one_message(
    wait: Wait, moves: list[tuple[str, int]]
) -> None:
    asyncio.run(_is_in_one_message(wait, moves))


async def _is_in_one_message(wait: Wait, moves: list[tuple[str, int]]) -> None:
    table = InMemoryDigestTable()
    now, arrived, messages = NOW, set(), []
    cap = wait.longest or max(wait.window, timedelta(milliseconds=1))
    if wait.closes is not None:
        cap = max(wait.closes - NOW, LATE)

    async def fire(window_id: str) -> None:
        found = (await table.close([window_id], now)).get(window_id)
        if isinstance(found, Closing):
            messages.append([one.item.notification_id for one in found.folds])
            await table.sent([window_id], now)

    for move, number in moves:
        if move == "arrive":
            arrived.add(f"n{number}")
            entry = Entry.of(fold(f"n{number}", wait))
            collected = await table.collect([entry], now)
            held = table.windows[collected.places[entry.key].window_id]
            assert held.span.closes <= held.opened + cap
        elif move == "pass":
            now += timedelta(milliseconds=number)
        else:
            for window_id in list(table.windows)[-number:]:
                await fire(window_id)
    now += timedelta(days=1)
    for window_id in list(table.windows):
        await fire(window_id)
        await fire(window_id)
    told = [id for message in messages for id in message]
    assert sorted(told) == sorted(arrived)
    assert all(messages)
