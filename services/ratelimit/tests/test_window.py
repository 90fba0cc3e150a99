from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clarion.ratelimit.window import (
    DAY,
    WEEK,
    Limit,
    Usage,
    Verdict,
    judge,
    microseconds,
    moment,
    usage,
)

NOW = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("ages", "used"),
    [
        ([], Usage(0, 0)),
        ([0], Usage(1, 1)),
        ([DAY - 1], Usage(1, 1)),
        ([DAY], Usage(0, 1)),
        ([WEEK - 1], Usage(0, 1)),
        ([WEEK], Usage(0, 0)),
        ([WEEK, WEEK - 1, DAY, DAY - 1, 0], Usage(2, 4)),
    ],
)
def test_a_permit_counts_for_less_than_its_window(ages, used):
    assert usage([NOW - age for age in ages], NOW) == used


def test_the_last_permit_is_allowed_and_counted():
    assert judge([NOW - 2, NOW - 1], NOW, Limit(3, 10)) == Verdict(True, 3, 3)


def test_a_full_day_is_free_when_its_oldest_permit_leaves():
    times = [NOW - DAY - 5, NOW - 30, NOW - 20, NOW - 10]
    verdict = judge(times, NOW, Limit(3, 10))
    assert verdict == Verdict(False, 3, 4, "daily", NOW - 30 + DAY)
    assert judge(times, verdict.available, Limit(3, 10)).allowed
    assert not judge(times, verdict.available - 1, Limit(3, 10)).allowed


def test_a_full_week_is_free_when_its_oldest_permit_leaves():
    times = [NOW - 3 * DAY, NOW - 2 * DAY]
    verdict = judge(times, NOW, Limit(3, 2))
    assert verdict == Verdict(False, 0, 2, "weekly", NOW - 3 * DAY + WEEK)
    assert judge(times, verdict.available, Limit(3, 2)).allowed


def test_of_two_full_windows_the_longer_wait_is_told():
    times = [NOW - 6 * DAY, NOW - 20, NOW - 10]
    assert judge(times, NOW, Limit(2, 3)).exceeded == "weekly"
    times = [NOW - WEEK + 5, NOW - 20, NOW - 10]
    verdict = judge(times, NOW, Limit(2, 3))
    assert (verdict.exceeded, verdict.available) == ("daily", NOW - 20 + DAY)


def test_a_lowered_limit_waits_until_enough_permits_have_left():
    times = [NOW - 50, NOW - 40, NOW - 30]
    verdict = judge(times, NOW, Limit(1, 10))
    assert verdict.available == NOW - 30 + DAY


@pytest.mark.parametrize(
    ("limit", "exceeded"),
    [(Limit(0, 5), "daily"), (Limit(5, 0), "weekly"), (Limit(0, 0), "daily")],
)
def test_a_limit_of_none_never_has_a_permit(limit, exceeded):
    assert judge([], NOW, limit) == Verdict(False, 0, 0, exceeded, 0)


def test_moments_keep_their_microseconds():
    at = datetime(2026, 11, 22, 13, 5, 6, 789_123, tzinfo=UTC)
    assert moment(microseconds(at)) == at
    assert microseconds(at + timedelta(days=1)) - microseconds(at) == DAY
