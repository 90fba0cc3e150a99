from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.ratelimit.counters import Counter, category_windows
from clarion.ratelimit.in_memory import InMemoryPermitStore
from clarion.ratelimit.ports import Permit
from clarion.ratelimit.valkey.permit_store import ValkeyPermitStore
from clarion.ratelimit.window import (
    DAY,
    HOUR,
    WEEK,
    Limit,
    Refusal,
    Usage,
    Verdict,
    Window,
)

NOW = 1_800_000_000_000_123
MINUTE = HOUR // 60
MONTH = 30 * DAY


@pytest.fixture(
    params=["memory", pytest.param("valkey", marks=pytest.mark.integration)]
)
def store(request):
    if request.param == "memory":
        return InMemoryPermitStore()
    return ValkeyPermitStore(request.getfixturevalue("redis"), chunk=3)


def first(daily=100, weekly=500, *more):
    windows = category_windows(Limit(daily, weekly), "category:news", "category:news")
    return Counter("news", "", windows + more)


def counter(channel, span, most, name="p"):
    return Counter(f"~||{channel}{name}", channel, (Window(span, most, name),))


def permits(*ids, counters, channels=0, user="u1"):
    return [
        Permit(id, user, "news", counters=tuple(counters), channels=channels)
        for id in ids
    ]


async def test_a_full_counter_of_the_whole_leaves_nothing_in_the_others(store):
    counters = [first(), counter("", HOUR, 1, "any"), counter("sms", HOUR, 5, "s")]
    allowed, refused = await store.acquire(
        "t", permits("a", "b", counters=counters, channels=1), NOW
    )
    assert allowed == Verdict(True, 1, 1)
    assert refused == Verdict(False, 1, 1, "hourly", NOW + HOUR, "any")
    assert await store.count("t", "u1", counters, NOW) == [[1, 1], [1], [1]]


async def test_a_full_counter_of_a_channel_takes_only_that_channel_out(store):
    counters = [first(), counter("email", DAY, 9, "e"), counter("sms", DAY, 1, "s")]
    wanted = permits("a", "b", counters=counters, channels=2)
    first_one, second = await store.acquire("t", wanted, NOW)
    assert first_one == Verdict(True, 1, 1)
    refusal = Refusal("sms", "daily", NOW + DAY, "s")
    assert second == Verdict(True, 2, 2, refusals=(refusal,))
    assert await store.count("t", "u1", counters, NOW) == [[2, 2], [2], [1]]


async def test_when_all_channels_are_full_nothing_is_counted(store):
    counters = [first(), counter("email", HOUR, 1, "e"), counter("sms", DAY, 0, "s")]
    await store.acquire("t", permits("a", counters=counters[:2], channels=1), NOW)
    refused = (Refusal("email", "hourly", NOW + HOUR, "e"),)
    refused += (Refusal("sms", "daily", 0, "s"),)
    [verdict] = await store.acquire(
        "t", permits("b", counters=counters, channels=2), NOW + 1
    )
    # What is told of the whole is the channel that has room first.
    assert verdict == Verdict(False, 1, 1, "hourly", NOW + HOUR, "e", refusals=refused)
    assert await store.count("t", "u1", counters, NOW + 1) == [[1, 1], [1], [0]]


async def test_a_repeated_request_counts_once_in_every_counter(store):
    counters = [first(), counter("", HOUR, 1, "any"), counter("sms", HOUR, 1, "s")]
    wanted = permits("a", "a", counters=counters, channels=1)
    assert await store.acquire("t", wanted, NOW) == [Verdict(True, 1, 1)] * 2
    again = await store.acquire("t", wanted, NOW + HOUR - 1)
    assert again == [Verdict(True, 1, 1)] * 2
    assert await store.count("t", "u1", counters, NOW) == [[1, 1], [1], [1]]


async def test_a_repeated_request_is_not_judged_by_a_policy_that_came_after_it(store):
    await store.acquire("t", permits("a", counters=[first()]), NOW)
    counters = [first(), counter("", HOUR, 0, "none")]
    [again] = await store.acquire("t", permits("a", counters=counters), NOW + 1)
    assert again == Verdict(True, 1, 1)


async def test_a_channel_that_comes_later_is_judged_then(store):
    counters = [first(), counter("sms", DAY, 1, "s")]
    await store.acquire("t", permits("a", counters=[first()], channels=1), NOW)
    await store.acquire("t", permits("b", counters=counters, channels=1), NOW)
    [late] = await store.acquire(
        "t", permits("a", counters=counters, channels=1), NOW + 1
    )
    assert not late.allowed
    assert late.refusals == (Refusal("sms", "daily", NOW + DAY, "s"),)
    assert await store.count("t", "u1", counters, NOW) == [[2, 2], [1]]


async def test_a_release_gives_back_every_counter(store):
    counters = [first(), counter("", HOUR, 1, "any"), counter("sms", HOUR, 1, "s")]
    wanted = permits("a", counters=counters, channels=1)
    await store.acquire("t", wanted, NOW)
    assert await store.release("t", wanted) == 1
    assert await store.release("t", wanted) == 0
    assert await store.count("t", "u1", counters, NOW) == [[0, 0], [0], [0]]
    [next_one] = await store.acquire(
        "t", permits("b", counters=counters, channels=1), NOW
    )
    assert next_one.allowed


async def test_a_short_window_is_free_at_the_very_microsecond(store):
    counters = [first(), counter("", MINUTE, 1, "any")]
    await store.acquire("t", permits("a", counters=counters), NOW)
    early, exact = [
        await store.acquire("t", permits("b", counters=counters), NOW + MINUTE + after)
        for after in (-1, 0)
    ]
    assert early == [Verdict(False, 1, 1, "window", NOW + MINUTE, "any")]
    assert exact[0].allowed


async def test_a_window_longer_than_a_week_is_kept_and_weeks_are_still_weeks(store):
    counters = [first(9, 9, Window(MONTH, 2, "month"))]
    for number in range(2):
        await store.acquire("t", permits(f"r{number}", counters=counters), NOW)
    [refused] = await store.acquire(
        "t", permits("x", counters=counters), NOW + MONTH - 1
    )
    assert refused == Verdict(False, 0, 0, "window", NOW + MONTH, "month")
    # A request of three weeks ago is still known.
    [known] = await store.acquire("t", permits("r0", counters=counters), NOW + 3 * WEEK)
    assert known == Verdict(True, 0, 0)


async def test_plain_permits_and_those_of_many_counters_share_a_category(store):
    plain = [Permit(f"p{n}", "u1", "news", Limit(2, 9)) for n in range(2)]
    many = permits("m", counters=[first(2, 9), counter("", DAY, 9)])
    verdicts = await store.acquire("t", [plain[0], *many, plain[1]], NOW)
    assert [verdict.allowed for verdict in verdicts] == [True, True, False]
    assert await store.usage("t", "u1", [], NOW) == {"news": Usage(2, 2)}


async def test_a_look_says_what_an_acquire_would_say_and_takes_nothing(store):
    counters = [first(3, 9), counter("email", DAY, 1), counter("sms", DAY, 2)]
    for number in range(4):
        wanted = permits(f"r{number}", counters=counters, channels=2)
        looked = await store.peek("t", wanted * 2, NOW + number)
        judged = await store.acquire("t", wanted, NOW + number)
        assert looked == judged * 2


@pytest.mark.integration
async def test_two_replicas_together_give_no_more_than_there_is(redis):
    stores = [ValkeyPermitStore(redis, chunk=2) for _ in range(2)]
    counters = [first(20, 20), counter("", HOUR, 7, "any"), counter("sms", HOUR, 4)]
    wanted = [
        permits(f"{side}-{number}", counters=counters, channels=2)
        for side in range(2)
        for number in range(12)
    ]
    answers = await asyncio.gather(
        *(stores[index % 2].acquire("t", own, NOW) for index, own in enumerate(wanted)),
        *(
            stores[(index + 1) % 2].acquire("t", own, NOW)
            for index, own in enumerate(wanted)
        ),
    )
    allowed = {
        one[0].request_id
        for one, (verdict,) in zip(wanted * 2, answers, strict=True)
        if verdict.allowed
    }
    assert len(allowed) == 7
    assert await stores[0].count("t", "u1", counters, NOW) == [[7, 7], [7], [4]]


@pytest.mark.integration
async def test_a_script_that_was_lost_is_loaded_again(redis):
    store = ValkeyPermitStore(redis, chunk=1)
    counters = [first(), counter("", HOUR, 9)]
    await store.acquire("t", permits("a", counters=counters), NOW)
    await redis.script_flush()
    plain = Permit("c", "u1", "news", Limit(9, 9))
    wanted = [*permits("a", "b", counters=counters), plain]
    verdicts = await store.acquire("t", wanted, NOW)
    assert [verdict.weekly_used for verdict in verdicts] == [1, 2, 3]


@pytest.mark.integration
async def test_valkey_forgets_a_counter_after_its_longest_window(redis):
    store = ValkeyPermitStore(redis)
    counters = [first(9, 9, Window(MONTH, 9, "m")), counter("", MINUTE, 9, "any")]
    await store.acquire("t", permits("a", counters=counters), NOW)
    assert 30 * 86400 < await redis.ttl("permits:{t}:news/u1") <= 31 * 86400
    assert 86400 < await redis.ttl("permits:{t}:~||any/u1") <= 2 * 86400


class Naive:
    """All that was ever counted, searched from the start for every question."""

    def __init__(self):
        self.counted = defaultdict(dict)

    def in_span(self, user, scope, span, now):
        return [t for t in self.counted[user, scope].values() if now - t < span]

    def group_is_held(self, permit, group, now):
        return any(
            now - self.counted[permit.user_id, one.scope][permit.request_id]
            < one.retention
            for one in group
            if permit.request_id in self.counted[permit.user_id, one.scope]
        )

    def group_has_room(self, permit, group, now):
        return all(
            len(self.in_span(permit.user_id, one.scope, window.span, now)) < window.most
            for one in group
            for window in one.windows
        )

    def acquire(self, permit, now):
        """Whether it is allowed, the channels refused, and used of the category."""
        groups = defaultdict(list)
        for one in permit.counters:
            groups[one.channel].append(one)
        refused, counted = [], []
        for channel, group in groups.items():
            if self.group_is_held(permit, group, now):
                continue
            if self.group_has_room(permit, group, now):
                counted += group
            else:
                refused.append(channel)
        allowed = "" not in refused
        if allowed and refused and len(refused) >= permit.channels:
            allowed = False
        if allowed:
            for one in counted:
                self.counted[permit.user_id, one.scope][permit.request_id] = now
        category = permit.counters[0].scope
        used = [
            len(self.in_span(permit.user_id, category, span, now))
            for span in (DAY, WEEK)
        ]
        return allowed, [] if "" in refused else refused, used

    def frees(self, permit, channel, now):
        """The instants at which anything leaves a window of a group."""
        return sorted(
            {
                time + window.span
                for one in permit.counters
                if one.channel == channel
                for window in one.windows
                for time in self.counted[permit.user_id, one.scope].values()
                if time + window.span > now
            }
        )

    def first_room(self, permit, channel, now):
        """When the group has room if nothing else comes; 0 for never."""
        group = [one for one in permit.counters if one.channel == channel]
        for instant in self.frees(permit, channel, now):
            if self.group_has_room(permit, group, instant):
                return instant
        return 0


SPANS = [MINUTE, HOUR, DAY, DAY + 1, WEEK, MONTH]
_WINDOWS = st.lists(
    st.builds(
        Window, st.sampled_from(SPANS), st.integers(0, 4), st.sampled_from(["p", "q"])
    ),
    min_size=1,
    max_size=3,
).map(tuple)
_LIMITS = st.builds(Limit, st.integers(0, 5), st.integers(0, 6))


@st.composite
def _counters(draw):
    """Those of one configuration: the scopes of a category, of all and of channels."""
    own = [first(*draw(_LIMITS), *draw(st.one_of(st.just(()), _WINDOWS)))]
    if draw(st.booleans()):
        own.append(Counter("~||", "", draw(_WINDOWS)))
    for channel in ("email", "sms"):
        for number in range(draw(st.integers(0, 2))):
            own.append(Counter(f"~||{channel}{number}", channel, draw(_WINDOWS)))
    return tuple(own)


@st.composite
def _histories(draw):
    counters = draw(_counters())
    steps = []
    for _ in range(draw(st.integers(1, 10))):
        asked = draw(st.sets(st.sampled_from(["email", "sms"])))
        own = tuple(one for one in counters if one.channel in {"", *asked})
        wanted = [
            Permit(id, user, "news", counters=own, channels=len(asked))
            for id, user in draw(
                st.lists(
                    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["u1", "u2"])),
                    max_size=5,
                )
            )
        ]
        jump = draw(
            st.one_of(
                st.integers(0, 2),
                st.sampled_from([span + d for span in SPANS for d in (-1, 0)]),
            )
        )
        steps.append(
            (draw(st.sampled_from(["acquire"] * 4 + ["release"])), wanted, jump)
        )
    return counters, steps


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=_histories())
async def test_any_history_agrees_with_a_search_through_all_of_it(store, history):
    counters, steps = history
    if isinstance(store, InMemoryPermitStore):
        store = InMemoryPermitStore()
    else:
        await store._redis.flushall()
    naive, now = Naive(), NOW
    for action, wanted, jump in steps:
        now += jump
        if action == "release":
            await store.release("t", wanted)
            for permit in wanted:
                for one in permit.counters:
                    naive.counted[permit.user_id, one.scope].pop(permit.request_id, 0)
            continue
        for permit in wanted:
            looked = await store.peek("t", [permit], now)
            [verdict] = await store.acquire("t", [permit], now)
            assert looked == [verdict]
            allowed, refused, used = naive.acquire(permit, now)
            assert verdict.allowed == allowed
            assert [refusal.channel for refusal in verdict.refusals] == refused
            assert [verdict.daily_used, verdict.weekly_used] == used
            for refusal in verdict.refusals:
                free = naive.first_room(permit, refusal.channel, now)
                assert refusal.available == free
            if not allowed and not refused:
                assert verdict.available == naive.first_room(permit, "", now)
        for user in ("u1", "u2"):
            assert await store.count("t", user, counters, now) == [
                [
                    len(naive.in_span(user, one.scope, window.span, now))
                    for window in one.windows
                ]
                for one in counters
            ]
