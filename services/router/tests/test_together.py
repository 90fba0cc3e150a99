"""Calls that share one: what is stored together, and whose fault is whose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from clarion.router.schedules.together import Together
from clarion.runtime.errors import InvalidArgumentError, UnavailableError


class Handled:
    """Refuses what is bad, and everything while it is down."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.is_down = False

    async def __call__(self, items: Sequence[str]) -> None:
        self.calls.append([*items])
        await asyncio.sleep(0)
        if self.is_down:
            raise UnavailableError("down")
        if "bad" in items:
            raise InvalidArgumentError("bad")


async def test_what_comes_within_the_pause_is_one_call():
    handled = Handled()
    together = Together(handled, 0.01)
    await asyncio.gather(together(["a", "b"]), together(["c"]), together([]))
    assert handled.calls == [["a", "b", "c"]]
    await together(["d"])
    assert handled.calls[1:] == [["d"]]


async def test_what_comes_during_a_call_is_the_next_one():
    handled = Handled()
    together = Together(handled)
    first = asyncio.create_task(together(["a"]))
    while not handled.calls:  # noqa: ASYNC110 - of the test
        await asyncio.sleep(0)
    await asyncio.gather(first, together(["b"]), together(["c"]))
    assert handled.calls == [["a"], ["b", "c"]]


async def test_a_bad_one_fails_alone():
    handled = Handled()
    together = Together(handled, 0.001)
    outcomes = await asyncio.gather(
        together(["a"]), together(["bad"]), together(["c"]), return_exceptions=True
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], InvalidArgumentError)
    assert outcomes[2] is None


async def test_while_it_is_down_all_fail_at_once_and_then_go_on():
    handled = Handled()
    handled.is_down = True
    together = Together(handled, 0.001)
    outcomes = await asyncio.gather(
        together(["a"]), together(["b"]), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [UnavailableError] * 2
    assert len(handled.calls) == 1
    handled.is_down = False
    await together(["a"])


async def test_who_is_cancelled_takes_nobody_along():
    handled = Handled()
    together = Together(handled, 0.01)
    leaving, staying = (asyncio.create_task(together([one])) for one in "ab")
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await staying
    assert handled.calls == [["a", "b"]]
