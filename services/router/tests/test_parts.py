from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.router.parts import LATELY, Parts
from clarion.runtime.streams import INTAKE, PARTS, part_of, parts_of
from clarion.runtime.testing import FakeClock

FLOW = "low.overflow"
ALL = parts_of(INTAKE, FLOW)
# Of the same part where nobody knows better.
ONE, ANOTHER = "demo", "other"


def test_tenants_of_the_same_usual_part_are_apart() -> None:
    assert part_of(FLOW, ONE) == part_of(FLOW, ANOTHER)
    parts = Parts(FakeClock())
    assert parts.of(FLOW, ONE) == part_of(FLOW, ONE)
    assert parts.of(FLOW, ANOTHER) != part_of(FLOW, ONE)


@given(st.lists(st.sampled_from([f"t-{n}" for n in range(PARTS)]), max_size=60))
def test_as_many_tenants_as_there_are_parts_are_each_alone_and_stay(
    floods: list[str],
) -> None:
    clock = FakeClock()
    parts = Parts(clock)
    where: dict[str, str] = {}
    for tenant in floods:
        part = parts.of(FLOW, tenant)
        assert where.setdefault(tenant, part) == part
        clock.advance(timedelta(seconds=LATELY / 100))
    assert len({*where.values()}) == len(where)


def test_more_tenants_share_and_nobody_is_without_a_part() -> None:
    parts = Parts(FakeClock())
    tenants = [f"t-{number}" for number in range(5 * PARTS)]
    assert {parts.of(FLOW, tenant) for tenant in tenants} == {*ALL}


def test_what_others_put_into_a_part_is_seen_where_it_is_read() -> None:
    clock = FakeClock()
    here, there = Parts(clock), Parts(clock)
    part = there.of(FLOW, ONE)
    with here.in_hand(part, {ONE}):
        pass
    assert here.of(FLOW, ANOTHER) != part
    # And so all routers have a tenant in one part.
    assert here.of(FLOW, ONE) == part


def test_a_tenant_goes_on_where_its_messages_are() -> None:
    parts = Parts(FakeClock())
    elsewhere = next(part for part in ALL if part != part_of(FLOW, ONE))
    with parts.in_hand(elsewhere, {ONE}):
        pass
    assert parts.of(FLOW, ONE) == elsewhere


@pytest.mark.parametrize(("seconds", "is_free"), [(LATELY - 1, False), (11, True)])
def test_a_part_is_free_when_nobody_was_seen_for_long(
    seconds: float, is_free: bool
) -> None:
    clock = FakeClock()
    parts = Parts(clock)
    part = parts.of(FLOW, ONE)
    clock.advance(timedelta(seconds=seconds))
    assert (parts.of(FLOW, ANOTHER) == part) is is_free


def test_who_is_in_hand_is_there_however_long_it_takes() -> None:
    clock = FakeClock()
    parts = Parts(clock)
    part = part_of(FLOW, ONE)
    with parts.in_hand(part, {ONE}), parts.in_hand(part, {ONE}):
        clock.advance(timedelta(seconds=10 * LATELY))
        assert parts.of(FLOW, ANOTHER) != part
        assert parts.of(FLOW, ONE) == part
    clock.advance(timedelta(seconds=2 * LATELY))
    assert parts.of(FLOW, ANOTHER) == part
