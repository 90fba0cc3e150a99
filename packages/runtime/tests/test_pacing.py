from __future__ import annotations

import asyncio
from collections import Counter, deque
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.runtime.pacing import (
    Governor,
    TenantShares,
    current_flow,
    in_flow,
    waiting_since,
)
from clarion.runtime.pacing.activity import Activity
from clarion.runtime.pacing.budgets import SHARES
from clarion.runtime.pacing.cost import Cost
from clarion.runtime.pacing.steps import PART, most_items
from clarion.runtime.pacing.strain import LATE, LEAST, Strain
from clarion.runtime.pacing.turns import Turns
from clarion.runtime.streams import FLOWS, LANES
from clarion.runtime.testing import FakeClock

LOW, LOW_OVER = "low", "low.overflow"

# (what was seen, by whom), (who asks, for whom), whether it makes way
PRESSED = [
    (("high", "a"), ("medium", "a"), True),
    (("high", "a"), ("low", "b"), True),
    (("medium", "a"), ("high", "a"), False),
    (("low", "a"), ("medium", "b"), False),
    (("low", "a"), ("low", "b"), False),
    (("low", "a"), (LOW_OVER, "b"), True),
    (("low", "a"), (LOW_OVER, "a"), False),
    (("low", "b"), ("high.overflow", "a"), True),
    (("low", "a"), ("high.overflow", "a"), False),
    (("high", "a"), (LOW_OVER, "a"), True),
    (("high.overflow", "a"), (LOW_OVER, "a"), True),
    (("high.overflow", "a"), ("low", "b"), False),
    ((LOW_OVER, "a"), ("medium.overflow", "b"), False),
]


@pytest.mark.parametrize(("seen", "asks", "pressed"), PRESSED)
def test_who_makes_way_for_whom(seen, asks, pressed):
    activity = Activity()
    activity.saw(seen[0], [seen[1]], 10.0)
    assert (activity.wait_before(asks[0], {asks[1]}, 10.5) is not None) is pressed
    assert activity.wait_before(asks[0], {asks[1]}, 11.6) is None


def test_own_traffic_does_not_hide_that_of_another_tenant():
    activity = Activity()
    activity.saw(LOW, ["b"], 10.0)
    activity.saw(LOW, ["a"], 10.1)
    activity.saw(LOW, ["a"], 10.2)
    assert activity.wait_before(LOW_OVER, {"a"}, 10.3) is not None


def test_of_those_who_go_before_the_one_that_waits_shortest_counts():
    activity = Activity()
    activity.saw("high", ["a"], 10.0, 0.4)
    activity.saw("medium", ["a"], 10.0, 2.0)
    assert activity.wait_before(LOW, {"a"}, 10.5) == 0.4
    activity.saw("high", ["a"], 10.1, 0.01)
    assert activity.wait_before(LOW, {"a"}, 10.5) == 0.01
    assert activity.wait_before("medium", {"a"}, 10.5) == 0.01
    # Only the medium one is still there.
    activity.saw("medium", ["a"], 11.0, 3.0)
    assert activity.wait_before(LOW, {"a"}, 11.5) == 3.0


def test_another_tenant_that_is_fast_counts_for_an_overflow():
    activity = Activity()
    activity.saw("high", ["a"], 10.0, 2.0)
    activity.saw(LOW, ["b"], 10.0, 0.02)
    assert activity.wait_before(LOW_OVER, {"a"}, 10.1) == 0.02
    assert activity.wait_before(LOW, {"a"}, 10.1) == 2.0


# (seconds that those before it wait, their rate, seconds an item, items of a step)
STEPS = [
    (0.0, 0, 100e-6, 64),
    (0.02, 20, 100e-6, 64),
    (0.1, 0, 100e-6, 100),
    (0.5, 0, 100e-6, 500),
    (0.5, 0, 50e-6, 1000),
    (0.5, 0, 1e-3, 64),
    (-0.5, 0, 100e-6, 64),
    (0.02, 3000, 100e-6, 300),
    (0.5, 3000, 100e-6, 500),
]


@pytest.mark.parametrize(("waited", "rate", "item", "items"), STEPS)
def test_steps_are_longer_where_all_wait_for_long(waited, rate, item, items):
    assert most_items(64, waited, rate, item) == items


@given(st.integers(1, 500), st.floats(-10, 1e6), st.floats(10e-6, 1e-3))
def test_a_step_adds_little_to_the_wait_of_those_before_it(step, waited, item):
    items = most_items(step, waited, 0, item)
    assert items >= step
    assert items == step or items * item <= PART * waited * 1.001
    assert most_items(step, waited + 1, 0, item) >= items


def test_rate_of_the_higher_lanes_counts_their_overflows():
    activity = Activity()
    for flow, items in (("high", 100), ("high.overflow", 300), ("low", 50)):
        activity.count(flow, items, 0.0)
    activity.count("high", 1, 1.0)
    assert activity.rate_before("high") == 0
    assert activity.rate_before(LOW) == pytest.approx(400)


def test_cost_believes_less_at_once_and_more_slowly():
    cost = Cost()
    cost.count(1000, 0.0, 0.0)
    cost.count(1000, 0.3, 0.1)
    assert cost.item == pytest.approx(100e-6)
    cost.count(1, 0.6, 1.1)
    assert 100e-6 < cost.item < 200e-6


def test_what_is_done_beside_the_items_does_not_make_them_dearer():
    cost = Cost()
    cost.count(300, 0.0, 0.0)
    for window in range(1, 60):
        # 300 items of 100 us, and 5,000 that cost a fifth of one.
        cost.beside(5000 * 0.2)
        cost.count(300, window * 0.3, window * (0.03 + 0.1))
    assert cost.item == pytest.approx(100e-6)


def test_what_is_done_without_items_says_nothing_of_their_cost():
    cost = Cost()
    before = cost.item
    for window in range(10):
        cost.beside(10_000)
        cost.count(1, window * 0.3, window * 0.01)
    assert cost.item == before


def test_cost_of_few_items_says_nothing():
    cost = Cost()
    before = cost.item
    for second in range(5):
        cost.count(20, float(second), second * 0.4)
    assert cost.item == before


@given(st.lists(st.floats(0, 1), max_size=300))
def test_strain_never_takes_everything_and_heals(late):
    strain = Strain()
    for seconds in late:
        strain.late(seconds)
        assert LEAST <= strain.factor <= 1
    for _ in range(100):
        strain.late(LATE / 2)
    assert strain.factor == 1


SENDS = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 600)), max_size=60)


@given(SENDS)
def test_a_tenant_gets_its_share_and_never_more(sends):
    shares = TenantShares(per_second=100, burst=300)
    now, within, asked = 0.0, 0, 0
    for wait, items in sends:
        now += wait
        asked += items
        taken = shares.take(("a", LOW), items, now)
        assert 0 <= taken <= items
        within += taken
    assert within <= 300 + 100 * now + 1e-6
    # What is below the rate in every second is never taken out.
    assert within >= min(asked, 300)


@given(SENDS)
def test_a_flood_of_one_tenant_takes_nothing_of_another(sends):
    shares = TenantShares(per_second=100, burst=300)
    now = 0.0
    for wait, items in sends:
        now += wait + 0.01
        shares.take(("flood", LOW), items * 1000, now)
        assert shares.take(("other", LOW), 1, now) == 1


class Process:
    """A process with a governor whose time passes only by sleeping and working."""

    def __init__(self, per_item: float = 100e-6) -> None:
        self.clock = FakeClock()
        self.cpu = 0.0
        self.done: Counter[str] = Counter()
        self._per_item = per_item
        self.governor = Governor(
            32, clock=self.clock, cpu=lambda: self.cpu, sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        # The others come to their next step meanwhile.
        for _ in range(3):
            await asyncio.sleep(0)

    async def step(
        self, flow: str, tenant: str, waiting: int, waited: float = 0.0
    ) -> int:
        since = self.clock.now() - timedelta(seconds=waited)
        admitted = await self.governor.admit(flow, {tenant}, waiting, since)
        used = admitted * self._per_item
        self.cpu += used
        self.clock.advance(timedelta(seconds=used))
        self.done[flow] += admitted
        return admitted


async def test_alone_a_flow_has_all_of_the_time_in_large_steps():
    process = Process()
    start = process.clock.monotonic()
    for _ in range(20):
        assert await process.step(LOW_OVER, "a", 512) == 512
    assert process.clock.monotonic() - start == pytest.approx(20 * 512 * 100e-6)


@pytest.mark.parametrize("flow", LANES[1:])
async def test_a_lane_that_makes_way_does_so_in_bounded_steps_without_a_pause(flow):
    process = Process()
    await process.step("high", "b", 1)
    start = process.clock.monotonic()
    for _ in range(10):
        assert await process.step(flow, "a", 512) == 32
    assert process.clock.monotonic() - start == pytest.approx(10 * 32 * 100e-6)


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow not in LANES])
async def test_while_others_go_first_a_flow_gets_its_share_in_small_steps(flow):
    process = Process()
    start = process.clock.monotonic()
    while process.clock.monotonic() - start < 30:
        await process.step("high", "b", 1)
        assert await process.step(flow, "a", 512) <= 32
    took = process.clock.monotonic() - start
    share = process.done[flow] * 100e-6 / took
    assert SHARES[flow] * 0.6 < share < SHARES[flow] * 1.5


@pytest.mark.parametrize("flow", LANES[1:])
async def test_beside_those_who_wait_for_long_steps_are_large(flow):
    process = Process()
    await process.step("high", "b", 1, waited=2.0)
    assert await process.step(flow, "a", 512, waited=5.0) == 512
    await process.step("high", "b", 1, waited=0.01)
    assert await process.step(flow, "a", 512, waited=5.0) == 32


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow not in LANES])
async def test_no_large_step_is_followed_by_a_pause_of_seconds(flow):
    process = Process()
    await process.step("high", "b", 1, waited=60.0)
    taken = await process.step(flow, "a", 10_000, waited=60.0)
    assert 32 < taken < 10_000
    start = process.clock.monotonic()
    await process.step("high", "b", 1, waited=60.0)
    await process.step(flow, "a", 1, waited=60.0)
    assert process.clock.monotonic() - start < 1.1


async def test_who_does_not_say_how_long_it_waits_is_taken_for_fast():
    process = Process()
    await process.governor.admit("high", {"b"}, 1)
    assert await process.step(LOW, "a", 512, waited=5.0) == 32


async def test_much_of_a_higher_lane_does_not_starve_a_lower_one():
    process = Process()
    start = process.clock.monotonic()
    while process.clock.monotonic() - start < 10:
        await process.step("high", "a", 256)
        await process.step(LOW_OVER, "a", 512)
        process.clock.advance(timedelta(seconds=0.01))
    assert process.done[LOW_OVER] > process.done["high"] / 3


async def test_a_step_does_not_begin_while_what_is_fast_is_under_way():
    process = Process()
    clock = process.clock
    await process.step(LOW_OVER, "a", 32)
    clock.advance(timedelta(seconds=5))
    for _ in range(10):
        await process.step("high", "b", 1)
        seen = clock.monotonic() - 100e-6
        await process.step(LOW_OVER, "a", 32)
        assert clock.monotonic() - seen > 0.015
        clock.advance(timedelta(seconds=0.5))


async def test_a_step_begins_in_the_end_where_something_fast_always_is():
    clock = FakeClock()

    async def sleep(seconds: float) -> None:
        clock.advance(timedelta(seconds=seconds))
        await governor.admit("high", {"b"}, 1)

    governor = Governor(32, clock=clock, cpu=lambda: 0.0, sleep=sleep)
    await governor.admit("high", {"b"}, 1)
    start = clock.monotonic()
    assert await governor.admit(LOW_OVER, {"a"}, 512) == 32
    assert clock.monotonic() - start == pytest.approx(0.036)


async def test_a_cancelled_wait_leaves_the_turn_to_the_next():
    clock = FakeClock()
    gate = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await gate.wait()
        clock.advance(timedelta(seconds=seconds))

    governor = Governor(32, clock=clock, cpu=lambda: 0.0, sleep=sleep)
    await governor.admit("high", {"b"}, 1)
    clock.advance(timedelta(seconds=0.1))
    await governor.admit(LOW_OVER, {"a"}, 512)
    first = asyncio.create_task(governor.admit(LOW_OVER, {"a"}, 512))
    second = asyncio.create_task(governor.admit(LOW_OVER, {"a"}, 512))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert await second == 32


async def test_who_waits_for_a_turn_does_not_pause_when_the_others_are_gone():
    clock = FakeClock()
    slept: list[float] = []
    gate = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await gate.wait()
        clock.advance(timedelta(seconds=2))

    governor = Governor(32, clock=clock, cpu=lambda: 0.0, sleep=sleep)
    await governor.admit("high", {"b"}, 1)
    clock.advance(timedelta(seconds=0.1))
    await governor.admit(LOW_OVER, {"a"}, 512)
    waiting = [governor.admit(LOW_OVER, {"a"}, 32) for _ in range(5)]
    calls = asyncio.gather(*waiting)
    await asyncio.sleep(0)
    gate.set()
    assert await calls == [32] * 5
    assert len(slept) == 1


FLOODS = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(1, 64), min_size=1), min_size=2
)


@given(FLOODS, st.integers(2, 3))
async def test_of_floods_that_wait_at_once_none_is_ahead_by_more_than_two_steps(
    floods, batches
):
    turns = Turns()
    had = Counter(dict.fromkeys(floods, 0))
    left = {tenant: deque(steps) for tenant, steps in floods.items()}
    everybody = asyncio.Event()

    async def batch(tenant: str) -> None:
        await everybody.wait()
        while left[tenant]:
            async with turns.turn([tenant]):
                if not left[tenant]:
                    return
                step = left[tenant].popleft()
                turns.had([tenant], step)
                had[tenant] += step
                await asyncio.sleep(0)
                behind = min((had[t] for t in left if left[t]), default=had[tenant])
                assert had[tenant] <= behind + 2 * 64

    calls = [batch(tenant) for tenant in floods for _ in range(batches)]
    running = asyncio.gather(*calls)
    everybody.set()
    await running
    assert had == {tenant: sum(steps) for tenant, steps in floods.items()}


async def test_who_comes_later_neither_catches_up_nor_waits_for_all_before_it():
    turns = Turns()
    order: list[str] = []

    async def batch(tenant: str, steps: int) -> None:
        for _ in range(steps):
            async with turns.turn([tenant]):
                turns.had([tenant], 32)
                order.append(tenant)
                await asyncio.sleep(0)

    first = asyncio.gather(batch("a", 50), batch("a", 50))
    while len(order) < 20:  # noqa: ASYNC110 - of the test
        await asyncio.sleep(0)
    await asyncio.gather(first, batch("b", 5))
    last = len(order) - order[::-1].index("b")
    assert last <= 20 + 12
    assert Counter(order[20:30])["a"] >= 4


async def test_a_turn_that_is_cancelled_as_it_comes_goes_to_the_next():
    turns = Turns()
    taken: list[str] = []

    async def take(tenant: str) -> None:
        async with turns.turn([tenant]):
            taken.append(tenant)

    async with turns.turn(["a"]):
        waiting = [asyncio.create_task(take(tenant)) for tenant in "bcd"]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert taken == ["d"]
    await asyncio.wait_for(take("e"), 1)


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow not in LANES])
async def test_tenants_that_flood_at_once_get_as_much_of_a_flow_that_makes_way(flow):
    process = Process()
    done: Counter[str] = Counter()

    async def flood(tenant: str) -> None:
        while process.clock.monotonic() - start < 20:
            await process.step("high", "x", 1)
            admitted = await process.step(flow, tenant, 512)
            done[tenant] += admitted
            await asyncio.sleep(0)

    start = process.clock.monotonic()
    # One has more batches in hand than the others.
    await asyncio.gather(*map(flood, "aaaabc"))
    assert max(done.values()) <= min(done.values()) + 6 * 32


def test_the_flow_is_known_to_what_runs_in_it():
    assert current_flow() == "high"
    assert waiting_since() is None
    since = FakeClock().now()
    with in_flow(LOW_OVER, since):
        assert current_flow() == LOW_OVER
        assert waiting_since() == since
    assert current_flow() == "high"
    assert waiting_since() is None
