from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from clarion.runtime.breaker import Breaker
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import FakeClock

PAUSE = timedelta(seconds=1)


class Dependency:
    """Answers, fails or hangs."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.hangs = False
        self.cancelled = 0

    async def ask(self) -> int:
        self.calls += 1
        if self.error is not None:
            raise self.error
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1
        return self.calls


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker("it", timedelta(milliseconds=30), PAUSE, clock)


async def test_answers_pass(breaker: Breaker, dependency: Dependency) -> None:
    assert await breaker.call(dependency.ask) == 1
    assert not breaker.is_open


async def test_a_call_that_hangs_is_given_up_and_the_next_ones_are_not_made(
    breaker: Breaker, dependency: Dependency
) -> None:
    dependency.hangs = True
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await breaker.call(dependency.ask)
    await asyncio.sleep(0)  # a turn for the cancelled call
    assert (dependency.calls, dependency.cancelled) == (1, 1)


async def test_after_a_pause_one_call_tries_and_its_success_lets_all_through(
    breaker: Breaker, dependency: Dependency, clock: FakeClock
) -> None:
    dependency.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await breaker.call(dependency.ask)
    clock.advance(PAUSE)
    calls = [breaker.call(dependency.ask) for _ in range(5)]
    await asyncio.gather(*calls, return_exceptions=True)
    assert dependency.calls == 2
    dependency.error = None
    clock.advance(PAUSE)
    assert [await breaker.call(dependency.ask) for _ in range(3)] == [3, 4, 5]


async def test_an_error_of_another_kind_passes_and_opens_nothing(
    breaker: Breaker, dependency: Dependency
) -> None:
    dependency.error = KeyError("bug")
    with pytest.raises(KeyError):
        await breaker.call(dependency.ask)
    assert not breaker.is_open


async def test_a_late_loop_is_not_taken_for_a_late_answer(breaker: Breaker) -> None:
    loop = asyncio.get_running_loop()

    async def ask() -> str:
        answer: asyncio.Future[str] = loop.create_future()
        loop.call_soon(time.sleep, 0.1)  # something else keeps the loop busy
        loop.call_later(0.001, answer.set_result, "there")
        return await answer

    assert await breaker.call(ask) == "there"


async def test_a_caller_that_goes_away_takes_its_call_along(
    breaker: Breaker, dependency: Dependency
) -> None:
    dependency.hangs = True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(breaker.call(dependency.ask), 0.005)
    await asyncio.sleep(0)
    assert dependency.cancelled == 1
    assert not breaker.is_open
