"""What the demonstration concludes."""

from __future__ import annotations

from collections import Counter

import pytest

from clarion.client.demo.result import Result, by_channel, compare, percentiles

EXPECTED = Counter({("a", "push"): 1, ("a", "email"): 1, ("b", "sms"): 1})


@pytest.mark.parametrize(
    ("arrived", "verdict"),
    [
        (EXPECTED, (0, 0)),
        (Counter({("a", "push"): 1, ("b", "sms"): 1}), (1, 0)),
        (EXPECTED + Counter({("a", "push"): 1}), (0, 1)),
        (Counter({("a", "push"): 3}), (2, 2)),
        (EXPECTED + Counter({("of another run", "push"): 5}), (0, 0)),
        (Counter(), (3, 0)),
    ],
    ids=["all", "one lost", "one doubled", "both", "strangers", "nothing"],
)
def test_losses_and_duplicates_are_counted_by_notification_and_channel(
    arrived, verdict
):
    assert compare(EXPECTED, arrived) == verdict


def test_every_channel_is_named_even_with_nothing_on_it():
    assert by_channel(Counter({("a", "push"): 2})) == {
        "push": 2,
        "email": 0,
        "sms": 0,
        "in_app": 0,
    }


def test_percentiles_are_of_this_runs_notifications():
    sent = {str(number): 1000.0 for number in range(100)}
    arrived = {(str(number), "push"): 1000 + number for number in range(100)}

    assert percentiles(sent, arrived | {("other", "push"): 99_999}) == {
        "p50": 50.0,
        "p99": 99.0,
    }


@pytest.mark.parametrize(
    "wrong",
    [{"lost": 1}, {"duplicated": 1}, {"failed": 1}, {"problems": ["odd"]}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_anything_wrong_makes_the_result_wrong(wrong):
    assert Result().is_right
    assert not Result(**wrong).is_right
