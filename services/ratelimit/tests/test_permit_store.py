from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.ratelimit.in_memory import InMemoryPermitStore
from clarion.ratelimit.ports import Permit
from clarion.ratelimit.valkey.permit_store import ValkeyPermitStore
from clarion.ratelimit.window import DAY, WEEK, Limit, Usage, Verdict

NOW = 1_800_000_000_000_000
WIDE = Limit(1000, 1000)


@pytest.fixture(
    params=["memory", pytest.param("valkey", marks=pytest.mark.integration)]
)
def store(request):
    if request.param == "memory":
        return InMemoryPermitStore()
    return ValkeyPermitStore(request.getfixturevalue("redis"), chunk=3)


def permits(*ids, limit=WIDE, user="u1", category="news"):
    return [Permit(id, user, category, limit) for id in ids]


async def test_permits_of_one_batch_are_judged_in_order(store):
    verdicts = await store.acquire("t", permits("a", "b", "c", limit=Limit(2, 9)), NOW)
    assert verdicts == [
        Verdict(True, 1, 1),
        Verdict(True, 2, 2),
        Verdict(False, 2, 2, "daily", NOW + DAY),
    ]


async def test_a_batch_of_many_chunks_keeps_its_order(store):
    wanted = permits(*(f"r{n}" for n in range(10)), limit=Limit(7, 9))
    verdicts = await store.acquire("t", wanted, NOW)
    assert [verdict.allowed for verdict in verdicts] == [True] * 7 + [False] * 3


async def test_an_empty_batch_has_no_verdicts(store):
    assert await store.acquire("t", [], NOW) == []
    assert await store.release("t", []) == 0


async def test_a_repeated_request_is_allowed_and_counts_once(store):
    wanted = permits("a", "a", limit=Limit(1, 1))
    assert await store.acquire("t", wanted, NOW) == [Verdict(True, 1, 1)] * 2
    later = await store.acquire("t", wanted[:1], NOW + 2 * DAY)
    assert later == [Verdict(True, 0, 1)]


async def test_a_repeated_request_stays_allowed_when_the_limit_has_fallen(store):
    await store.acquire("t", permits("a"), NOW)
    assert await store.acquire("t", permits("a", limit=Limit(0, 0)), NOW + 1) == [
        Verdict(True, 1, 1)
    ]


async def test_a_refused_request_is_not_kept(store):
    await store.acquire("t", permits("a", "b", limit=Limit(1, 9)), NOW)
    assert await store.release("t", permits("b")) == 0
    assert await store.usage("t", "u1", ["news"], NOW) == {"news": Usage(1, 1)}


async def test_a_permit_is_free_again_exactly_when_it_was_told(store):
    limit = Limit(1, 2)
    await store.acquire("t", permits("a", limit=limit), NOW)
    [refused] = await store.acquire("t", permits("b", limit=limit), NOW + 5)
    early = await store.acquire("t", permits("b", limit=limit), refused.available - 1)
    exact = await store.acquire("t", permits("b", limit=limit), refused.available)
    assert [early[0].allowed, exact[0].allowed] == [False, True]
    [weekly] = await store.acquire("t", permits("c", limit=limit), NOW + 3 * DAY)
    assert weekly == Verdict(False, 0, 2, "weekly", NOW + WEEK)


async def test_after_a_week_a_request_id_is_a_new_one(store):
    await store.acquire("t", permits("a"), NOW)
    assert await store.acquire("t", permits("a", limit=Limit(0, 9)), NOW + WEEK) == [
        Verdict(False, 0, 0, "daily", 0)
    ]


async def test_a_released_permit_can_be_taken_by_another(store):
    one = Limit(1, 1)
    await store.acquire("t", permits("a", limit=one), NOW)
    assert await store.release("t", permits("a", "never")) == 1
    assert await store.release("t", permits("a")) == 0
    assert await store.acquire("t", permits("b", limit=one), NOW) == [
        Verdict(True, 1, 1)
    ]


async def test_people_categories_and_tenants_do_not_share_permits(store):
    one = Limit(1, 1)
    await store.acquire("t", permits("a", limit=one), NOW)
    others = [
        *permits("a", limit=one, user="u2"),
        *permits("a", limit=one, category="offers"),
        *permits("a", limit=one, category="a", user="b/c"),
        *permits("a", limit=one, category="a:b", user="c"),
    ]
    assert all(one.allowed for one in await store.acquire("t", others, NOW))
    assert await store.release("other", permits("a")) == 0
    assert await store.usage("other", "u1", [], NOW) == {}


async def test_usage_has_what_was_asked_for_and_what_was_used(store):
    await store.acquire("t", permits("a", "b", category="offers"), NOW)
    await store.acquire("t", permits("c", category="offers"), NOW + DAY)
    await store.acquire("t", permits("d", user="u2", category="theirs"), NOW + DAY)
    assert await store.usage("t", "u1", ["news"], NOW + DAY) == {
        "news": Usage(0, 0),
        "offers": Usage(1, 3),
    }


@pytest.mark.integration
async def test_valkey_keeps_no_more_than_the_weekly_limit_and_for_a_week(redis):
    store = ValkeyPermitStore(redis)
    wanted = permits(*(f"r{n}" for n in range(40)), limit=Limit(50, 10))
    await store.acquire("t", wanted, NOW)
    assert await redis.zcard("permits:{t}:news/u1") == 10
    assert 7 * 86400 < await redis.ttl("permits:{t}:news/u1") <= 8 * 86400


@pytest.mark.integration
async def test_valkey_gets_the_script_again_when_it_has_lost_it(redis):
    store = ValkeyPermitStore(redis, chunk=2)
    await store.acquire("t", permits("a"), NOW)
    await redis.script_flush()
    verdicts = await store.acquire("t", permits("a", "b", "c"), NOW)
    assert [verdict.weekly_used for verdict in verdicts] == [1, 2, 3]


_STEP = st.tuples(
    st.sampled_from(["acquire", "acquire", "acquire", "release"]),
    st.lists(
        st.builds(
            Permit,
            st.sampled_from("abcdefgh"),
            st.sampled_from(["u1", "u2"]),
            st.sampled_from(["news", "offers"]),
            st.builds(Limit, st.integers(0, 4), st.integers(0, 6)),
            counters=st.just(()),
            channels=st.just(0),
        ),
        max_size=8,
    ),
    st.one_of(
        st.integers(0, 3),
        st.sampled_from([DAY // 2, DAY - 1, DAY, DAY + 1, WEEK - DAY, WEEK, WEEK + 1]),
    ),
)


@pytest.mark.integration
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(_STEP, max_size=12))
async def test_valkey_agrees_with_the_pure_arithmetic(redis, steps):
    await redis.flushdb()
    real, reference, now = ValkeyPermitStore(redis, chunk=3), InMemoryPermitStore(), NOW
    for step, wanted, wait in steps:
        now += wait
        if step == "release":
            assert await real.release("t", wanted) == await reference.release(
                "t", wanted
            )
            continue
        expected = await reference.acquire("t", wanted, now)
        assert await real.acquire("t", wanted, now) == expected
        for user in ("u1", "u2"):
            used = await reference.usage("t", user, ["news"], now)
            assert await real.usage("t", user, ["news"], now) == used


async def test_a_look_is_judged_like_an_acquire_and_takes_nothing(store):
    limit = Limit(2, 3)

    def permit(number):
        return Permit(f"r{number}", "u1", "news", limit)

    for number in range(4):
        now = NOW + number
        for _ in range(2):
            looked = await store.peek("t", [permit(number), permit(number)], now)
        judged = await store.acquire("t", [permit(number)], now)
        assert looked == judged * 2
        # What holds a permit is allowed, whatever the limit is by now.
        assert (await store.peek("t", [permit(0)], now))[0].allowed
    assert await store.usage("t", "u1", ["news"], NOW + 9) == {"news": Usage(2, 2)}
    assert await store.peek("t", [], NOW) == []
