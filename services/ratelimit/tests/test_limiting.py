from __future__ import annotations

from datetime import timedelta

import pytest

from clarion.ratelimit.in_memory import InMemoryPermitStore, InMemoryPolicyStore
from clarion.ratelimit.limiting import RateLimiter, Wanted
from clarion.ratelimit.policy import Asked, PartialLimit
from clarion.ratelimit.type_windows import InMemoryTypeWindows
from clarion.ratelimit.window import HOUR, Limit, Usage, Window
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def policies():
    return InMemoryPolicyStore()


@pytest.fixture
def limiter(clock, policies):
    return RateLimiter(InMemoryPermitStore(), policies, clock)


def wanted(count, category="promotional", personal=None):
    return [Wanted(f"r{n}", "u1", category, personal) for n in range(count)]


async def test_promotions_stop_after_three_a_day_and_ten_a_week(limiter, clock):
    allowed = []
    for _ in range(5):
        batch = [
            one._replace(request_id=str(clock.now()) + one[0]) for one in wanted(5)
        ]
        verdicts = await limiter.acquire("t", batch)
        allowed.append(sum(verdict.allowed for verdict in verdicts))
        clock.advance(timedelta(days=1))
    assert allowed == [3, 3, 3, 1, 0]


async def test_the_stricter_of_the_personal_and_the_tenant_limit_counts(limiter):
    verdicts = await limiter.acquire("t", wanted(3, personal=PartialLimit(daily=2)))
    assert [verdict.allowed for verdict in verdicts] == [True, True, False]
    [other] = await limiter.acquire(
        "t", [Wanted("r", "u2", "news", PartialLimit(daily=0))]
    )
    assert not other.allowed


async def test_a_limit_set_elsewhere_is_noticed_within_a_second(
    limiter, policies, clock
):
    await limiter.acquire("t", wanted(1))
    await policies.put("t", "promotional", PartialLimit(daily=1))
    assert (await limiter.acquire("t", wanted(2)))[1].allowed
    clock.advance(timedelta(seconds=1))
    assert not (await limiter.acquire("t", wanted(3)))[2].allowed


async def test_a_limit_set_here_holds_at_once(limiter):
    await limiter.acquire("t", wanted(1))
    put = await limiter.put_policy("t", "promotional", PartialLimit(daily=1))
    assert put == Limit(1, 10)
    assert not (await limiter.acquire("t", wanted(2)))[1].allowed
    assert (await limiter.policies("t")).limit("promotional") == Limit(1, 10)
    assert (await limiter.policies("other")).limit("promotional") == Limit(3, 10)


async def test_usage_shows_every_category_with_its_limit(limiter):
    await limiter.acquire("t", wanted(2))
    await limiter.acquire("t", wanted(1, category="news"))
    used = (await limiter.usage("t", "u1")).categories
    assert used["promotional"] == (Usage(2, 2), Limit(3, 10))
    assert used["news"] == (Usage(1, 1), Limit(100, 500))
    assert used["security"] == (Usage(0, 0), Limit(100, 500))
    assert await limiter.release("t", wanted(2)) == 2
    assert (await limiter.usage("t", "u1")).categories["promotional"][0] == Usage(0, 0)


PING = (Window(HOUR, 5, "type:ping"),)


def pings(count, user="u1"):
    asked = Asked("ping", ("push",), PING)
    return [Wanted(f"r{n}", user, "news", asked=asked) for n in range(count)]


async def test_usage_shows_the_windows_of_types_that_were_sent(limiter, clock):
    await limiter.acquire("t", pings(2))
    assert (await limiter.usage("t", "u1")).windows == [(PING[0], 2)]
    assert (await limiter.usage("t", "somebody else")).windows == [(PING[0], 0)]
    assert (await limiter.usage("other", "u1")).windows == []
    await limiter.peek("other", pings(1))
    assert (await limiter.usage("other", "u1")).windows == []
    clock.advance(timedelta(hours=2))
    assert (await limiter.usage("t", "u1")).windows == []


async def test_permits_do_not_need_that_their_windows_are_kept(clock, policies):
    class Down(InMemoryTypeWindows):
        is_down = True

        async def put(self, tenant, windows, now):
            if self.is_down:
                raise UnavailableError
            await super().put(tenant, windows, now)

    types = Down()
    limiter = RateLimiter(InMemoryPermitStore(), policies, clock, types=types)
    assert [one.allowed for one in await limiter.acquire("t", pings(1))] == [True]
    types.is_down = False
    clock.advance(timedelta(seconds=5))
    await limiter.acquire("t", pings(2))
    assert (await limiter.usage("t", "u1")).windows == [(PING[0], 2)]
