from __future__ import annotations

from datetime import timedelta

import pytest

from clarion.runtime.delivery.attempts import RetryPolicy, Verdict
from clarion.runtime.delivery.outcome import Outcome

SENT = Outcome.sent("m")
FAILED = Outcome.failed("invalid_address")
RETRY = Outcome.retry("provider_unavailable")
UNKNOWN = Outcome.unknown("timeout")

VERDICTS = (
    (1, SENT, Verdict.DONE),
    (1, FAILED, Verdict.DONE),
    (8, SENT, Verdict.DONE),
    (1, RETRY, Verdict.AGAIN),
    (7, RETRY, Verdict.AGAIN),
    (8, RETRY, Verdict.EXHAUSTED),
    (0, RETRY, Verdict.AGAIN),
    (1, UNKNOWN, Verdict.AGAIN),
    (8, UNKNOWN, Verdict.EXHAUSTED),
    (9, RETRY, Verdict.AGAIN),
    (16, RETRY, Verdict.EXHAUSTED),
)


@pytest.mark.parametrize(("attempt", "outcome", "verdict"), VERDICTS)
def test_a_verdict_follows_from_attempt_and_outcome(
    attempt: int, outcome: Outcome, verdict: Verdict
) -> None:
    assert RetryPolicy().verdict(attempt, outcome) is verdict


def test_unknown_is_kept_where_a_double_is_worse_than_a_loss() -> None:
    assert RetryPolicy(unknown="keep").verdict(1, UNKNOWN) is Verdict.DONE


def test_eight_attempts_take_about_half_an_hour() -> None:
    policy = RetryPolicy()
    assert policy.max_attempts == 8
    waits = [policy.wait(n, chance=lambda: 0.5) for n in range(1, 8)]
    assert waits == sorted(waits)
    assert timedelta(minutes=25) < sum(waits, timedelta()) < timedelta(minutes=35)


def test_a_redriven_delivery_waits_as_in_its_first_round() -> None:
    policy = RetryPolicy()
    for attempt in range(1, 8):
        again = policy.wait(attempt + 8, chance=lambda: 0.5)
        assert again == policy.wait(attempt, chance=lambda: 0.5)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_waits_are_jittered_by_a_fifth(chance: float) -> None:
    wait = RetryPolicy().wait(3, chance=lambda: chance)
    assert timedelta(seconds=24) <= wait <= timedelta(seconds=36)


def test_a_provider_s_wait_is_a_minimum() -> None:
    policy = RetryPolicy()
    asked = timedelta(seconds=100)
    assert policy.wait(1, asked, chance=lambda: 0.0) == asked
    assert policy.wait(7, asked, chance=lambda: 0.0) == timedelta(seconds=720)
    assert policy.wait(1, timedelta(days=3), chance=lambda: 0.0) == timedelta(hours=1)


def test_without_waits_there_is_one_attempt() -> None:
    assert RetryPolicy(waits=()).verdict(1, RETRY) is Verdict.EXHAUSTED
