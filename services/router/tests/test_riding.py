from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1.work_pb2 import DeliveryChunk
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
)
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.riding import Riding
from clarion.router.routing import Router
from clarion.router.settings import Settings
from clarion.router.waits import Waits
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.pacing import in_flow
from clarion.runtime.streams import FLOWS, LANES, overflow_of
from clarion.runtime.testing import FakeClock

CALM = timedelta(milliseconds=150)
MIXED = {"low": [1], "high": [2], "medium": [3, 4]}
amounts = st.dictionaries(st.sampled_from(FLOWS), st.integers(1, 60), max_size=6)


@pytest.fixture
def waits(clock: FakeClock) -> Waits:
    return Waits(clock)


@pytest.fixture
def riding(waits: Waits) -> Riding:
    return Riding(waits, CALM)


def test_what_is_small_goes_by_its_highest_lane_higher_ones_first(
    riding: Riding,
) -> None:
    assert riding.together(MIXED) == {"high": [2, 3, 4, 1]}
    assert riding.together({"low": [1], "medium": [2]}) == {"medium": [2, 1]}
    assert riding.onwards("high", ["low", "high"]) == ["high", "high"]


@pytest.mark.parametrize("behind", FLOWS)
def test_nothing_rides_while_anybody_waits(
    behind: str, riding: Riding, waits: Waits, clock: FakeClock
) -> None:
    with waits.in_hand(behind, clock.now()):
        assert riding.together(MIXED) == {"high": [2, 3, 4, 1]}
        clock.advance(CALM)
        assert riding.together(MIXED) == MIXED
        assert riding.onwards("high", ["low", "high"]) == ["low", "high"]
    clock.advance(timedelta(seconds=1.1))
    assert riding.together(MIXED) == {"high": [2, 3, 4, 1]}


def test_nothing_ever_rides_without_calm(waits: Waits) -> None:
    never = Riding(waits, timedelta(0))
    assert never.together(MIXED) == MIXED
    assert never.onwards("high", ["low"]) == ["low"]


@given(amounts)
def test_large_requests_and_overflows_stay_apart_and_nothing_is_left_out(
    items: dict[str, int],
) -> None:
    by_flow = {flow: [(flow, n) for n in range(many)] for flow, many in items.items()}
    riding = Riding(Waits(FakeClock()), CALM, 100)
    together = riding.together(by_flow)
    if sum(items.values()) > 100 or set(items) - set(LANES):
        assert together == by_flow
    elif items:
        ((flow, own),) = together.items()
        assert flow == min(items, key=LANES.index)
        assert own == [item for lane in LANES for item in by_flow.get(lane, ())]


@given(
    st.sampled_from(FLOWS),
    st.lists(st.sampled_from(LANES), max_size=12),
    st.booleans(),
)
def test_no_delivery_goes_on_by_a_lower_lane_than_its_own(
    flow: str, lanes: list[str], is_calm: bool
) -> None:
    riding = Riding(Waits(FakeClock()), CALM if is_calm else timedelta(0), 10)
    onwards = riding.onwards(flow, lanes)
    if flow not in LANES:
        assert onwards == [overflow_of(lane) for lane in lanes]
    elif not is_calm or len(lanes) > 10:
        assert onwards == lanes
    else:
        assert onwards == [min(lane, flow, key=LANES.index) for lane in lanes]


@pytest.fixture
def router(
    neighbours: InMemoryNeighbours, outbox: Any, clock: FakeClock, riding: Riding
) -> Router:
    publisher, scheduler = outbox.publisher, InMemoryScheduler()
    return Router(neighbours, publisher, clock, scheduler, riding=riding)


async def test_jobs_of_all_lanes_share_a_message_and_keep_their_priority(
    router: Router, outbox: Any, make_item: Any
) -> None:
    items = [make_item(channels=["email"], priority=lane) for lane in LANES]
    with in_flow("high"):
        await router.route(items)
    (message,) = outbox.publisher.on("work.email.high")
    jobs = DeliveryChunk.FromString(message.body).jobs
    assert [job.priority for job in jobs] == list(LANES)
    decided = [event.decided.decision.priority for event in outbox.events]
    assert decided == list(LANES)


async def test_what_rode_in_goes_on_by_its_own_lane_once_somebody_waits(
    router: Router, outbox: Any, make_item: Any, waits: Waits, clock: FakeClock
) -> None:
    items = [make_item(channels=["email"], priority=lane) for lane in LANES]
    with in_flow("high"), waits.in_hand("low", clock.now() - CALM):
        await router.route(items)
    for lane, item in zip(LANES, items, strict=True):
        (message,) = outbox.publisher.on(f"work.email.{lane}")
        (job,) = DeliveryChunk.FromString(message.body).jobs
        assert job.notification_id == item.notification_id


@pytest.fixture
def mixed(notify: Any) -> Callable[[int], BatchSendNotificationsRequest]:
    """Requests with notifications of all lanes."""

    def make(many: int) -> BatchSendNotificationsRequest:
        lanes = [LANES[number % 3] for number in range(many)]
        return BatchSendNotificationsRequest(
            notifications=[
                notify(channels=["email"], priority=lane, idempotency_key=str(number))
                for number, lane in enumerate(lanes)
            ]
        )

    return make


@pytest.mark.integration
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(ride_calm=timedelta(minutes=1)), 12),
        (Settings(ride_calm=timedelta(0)), 4),
    ],
    ids=["calm", "never"],
)
async def test_a_small_request_is_stored_by_its_highest_lane(
    start: Any, mixed: Any, settings: Settings, expected: int
) -> None:
    async with start(own=settings) as running:
        await running.stub.BatchSendNotifications(mixed(12), timeout=20)
        jobs = await running.until(
            lambda: running.jobs("work.email.high"), expected, 20
        )
        own = [job.priority for job in jobs]
        assert own.count("high") == 4
        assert len(own) == expected


@pytest.mark.integration
async def test_what_rides_is_there_once_after_a_kill_and_a_repeated_send(
    start: Any, own_nats: Any, mixed: Any
) -> None:
    async with start(nats_url=own_nats.url) as running:
        request = mixed(30)
        first = await running.stub.BatchSendNotifications(request, timeout=20)
        await own_nats.kill()
        await own_nats.start()
        again = await running.stub.BatchSendNotifications(request, timeout=25)
        assert [one.notification for one in again.results] == [
            one.notification for one in first.results
        ]

        async def found() -> set[str]:
            return {
                job.delivery_id
                for lane in LANES
                for job in await running.jobs(f"work.email.{lane}")
            }

        assert len(await running.until(found, 30, 30)) == 30
