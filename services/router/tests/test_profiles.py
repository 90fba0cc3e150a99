from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.profiles import APART, CALM, JUDGED, REST, USABLE, Profiles
from clarion.router.waits import Waits
from clarion.runtime.errors import UnavailableError
from clarion.runtime.streams import overflow_of
from clarion.runtime.testing import FakeClock

ID = "6f6c2f0a-0e0d-4a53-9d8e-6f3f3c1f7a11"
OTHER = "6f6c2f0a-0e0d-4a53-9d8e-6f3f3c1f7a12"


@pytest.fixture
def waits(clock: FakeClock) -> Waits:
    return Waits(clock)


@pytest.fixture
def profiles(
    neighbours: InMemoryNeighbours, waits: Waits, clock: FakeClock
) -> Profiles:
    return Profiles(neighbours, waits, clock)


@pytest.fixture
def ada(neighbours: InMemoryNeighbours, person: Any) -> RecipientProfile:
    neighbours.people["ada"] = profile = person("ada")
    return profile


async def settle() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_what_is_accepted_here_is_read_once_before_it_is_decided(
    profiles: Profiles, neighbours: InMemoryNeighbours, make_item: Any, ada: Any
) -> None:
    profiles.ask_ahead("demo", {ID: "ada", OTHER: "ada"})
    await settle()
    assert neighbours.calls["recipients"] == 1
    items = [make_item(notification_id=one) for one in (ID, OTHER)]
    assert await profiles.of("demo", items) == [ada, ada]
    assert neighbours.calls["recipients"] == 1


async def test_what_comes_twice_is_read_again(
    profiles: Profiles, neighbours: InMemoryNeighbours, make_item: Any, ada: Any
) -> None:
    profiles.ask_ahead("demo", {ID: "ada"})
    for calls in (1, 2, 3):
        assert await profiles.of("demo", [make_item(notification_id=ID)]) == [ada]
        assert neighbours.calls["recipients"] == calls


async def test_one_read_ahead_serves_no_other_notification(
    profiles: Profiles, neighbours: InMemoryNeighbours, make_item: Any, person: Any
) -> None:
    neighbours.people["ada"] = before = person("ada")
    profiles.ask_ahead("demo", {ID: "ada"})
    await settle()
    neighbours.people["ada"] = after = person("eve")
    items = [make_item(notification_id=one) for one in (OTHER, ID)]
    assert await profiles.of("demo", items) == [after, before]


async def test_what_waits_is_read_again(
    profiles: Profiles,
    neighbours: InMemoryNeighbours,
    make_item: Any,
    clock: FakeClock,
    ada: Any,
) -> None:
    profiles.ask_ahead("demo", {ID: "ada"})
    await settle()
    clock.advance(USABLE + timedelta(milliseconds=1))
    assert await profiles.of("demo", [make_item(notification_id=ID)]) == [ada]
    assert neighbours.calls["recipients"] == 2


async def test_a_release_reads_everything_again(
    profiles: Profiles, neighbours: InMemoryNeighbours, make_item: Any, ada: Any
) -> None:
    profiles.ask_ahead("demo", {ID: "ada"})
    await settle()
    item = make_item(notification_id=ID)
    item.release = 1
    assert await profiles.of("demo", [item]) == [ada]
    assert neighbours.calls["recipients"] == 2


async def test_a_key_used_again_for_somebody_else_changes_nothing(
    profiles: Profiles, make_item: Any, clock: FakeClock, ada: Any
) -> None:
    profiles.ask_ahead("demo", {ID: "ada"})
    clock.advance(APART)
    profiles.ask_ahead("demo", {ID: "eve"})
    assert await profiles.of("demo", [make_item(notification_id=ID)]) == [ada]


async def test_what_failed_ahead_is_told_and_then_read_again(
    profiles: Profiles, neighbours: InMemoryNeighbours, make_item: Any, ada: Any
) -> None:
    neighbours.errors["recipients"] = [UnavailableError("down")]
    profiles.ask_ahead("demo", {ID: "ada"})
    item = make_item(notification_id=ID)
    with pytest.raises(UnavailableError):
        await profiles.of("demo", [item])
    assert await profiles.of("demo", [item]) == [ada]


async def test_what_failed_ahead_and_is_decided_elsewhere_is_nobodys_error(
    profiles: Profiles, neighbours: InMemoryNeighbours
) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    neighbours.errors["recipients"] = [UnavailableError("down")]
    profiles.ask_ahead("demo", {ID: "ada"})
    await settle()
    del profiles
    assert told == []


async def test_who_stops_waiting_does_not_stop_the_others(
    profiles: Profiles, neighbours: InMemoryNeighbours, make_item: Any, ada: Any
) -> None:
    let_go = asyncio.Event()
    ask = neighbours.recipients

    async def slowly(*arguments: Any) -> Any:
        await let_go.wait()
        return await ask(*arguments)

    neighbours.recipients = slowly  # type: ignore[method-assign]
    profiles.ask_ahead("demo", {ID: "ada", OTHER: "ada"})
    one, other = (
        asyncio.create_task(profiles.of("demo", [make_item(notification_id=at)]))
        for at in (ID, OTHER)
    )
    await settle()
    one.cancel()
    await settle()
    let_go.set()
    assert await other == [ada]
    assert one.cancelled()


async def test_what_comes_more_often_shares_a_read_when_it_is_decided(
    profiles: Profiles,
    neighbours: InMemoryNeighbours,
    make_item: Any,
    clock: FakeClock,
    ada: Any,
) -> None:
    ids = [f"{ID[:-2]}{number:02d}" for number in range(10, 20)]
    for one in ids:
        profiles.ask_ahead("demo", {one: "ada"})
        clock.advance(APART / 10)
    await settle()
    assert neighbours.calls["recipients"] == 1
    items = [make_item(notification_id=one) for one in ids]
    assert await profiles.of("demo", items) == [ada] * len(ids)
    assert neighbours.calls["recipients"] == 2


async def test_nothing_is_read_ahead_of_a_queue(
    profiles: Profiles, neighbours: InMemoryNeighbours, waits: Waits, clock: FakeClock
) -> None:
    with waits.in_hand(overflow_of("low"), clock.now() - CALM):
        profiles.ask_ahead("demo", {ID: "ada"})
        await settle()
    assert neighbours.calls["recipients"] == 0


async def test_where_others_decide_what_it_accepts_a_router_seldom_reads_ahead(
    profiles: Profiles, neighbours: InMemoryNeighbours, clock: FakeClock
) -> None:
    async def accept(calls: int) -> int:
        before = neighbours.calls["recipients"]
        for number in range(calls):
            profiles.ask_ahead("demo", {f"{calls}-{number}": "ada"})
            await settle()
            clock.advance(APART)
        return neighbours.calls["recipients"] - before

    asked = await accept(4 * JUDGED)
    assert JUDGED <= asked < JUDGED + 2 * USABLE / APART
    clock.advance(REST)
    assert await accept(10) == 10
