from __future__ import annotations

import pytest

from clarion.ratelimit.policy import PartialLimit, Policies
from clarion.ratelimit.window import Limit


@pytest.mark.parametrize(
    ("category", "limit"),
    [
        ("promotional", Limit(3, 10)),
        ("order_updates", Limit(50, 200)),
        ("security", Limit(100, 500)),
        ("default", Limit(100, 500)),
        ("anything_else", Limit(100, 500)),
    ],
)
def test_the_built_in_limits_are_those_of_the_design(category, limit):
    assert Policies().limit(category) == limit


def test_an_override_leaves_the_open_window_at_its_default():
    policies = Policies({"promotional": PartialLimit(weekly=2)})
    assert policies.limit("promotional") == Limit(3, 2)


def test_a_tenant_default_holds_for_categories_without_a_policy():
    policies = Policies({"default": PartialLimit(daily=7), "news": PartialLimit(0)})
    assert policies.limit("whatever") == Limit(7, 500)
    assert policies.limit("news") == Limit(0, 500)
    assert policies.limit("security") == Limit(100, 500)


def test_all_policies_are_listed_with_the_limits_that_hold():
    policies = Policies().with_override("news", PartialLimit(1, 2))
    assert policies.all()["news"] == Limit(1, 2)
    assert list(policies.all()) == [
        *("default", "news", "order_updates", "promotional", "security")
    ]


def test_an_override_open_in_both_windows_is_removed():
    policies = Policies({"news": PartialLimit(1, 2)})
    assert policies.with_override("news", PartialLimit()) == Policies()


@pytest.mark.parametrize(
    ("personal", "limit"),
    [
        (PartialLimit(), Limit(5, 20)),
        (PartialLimit(daily=3), Limit(3, 20)),
        (PartialLimit(daily=9, weekly=9), Limit(5, 9)),
        (PartialLimit(daily=0), Limit(0, 20)),
    ],
)
def test_for_each_window_the_stricter_limit_counts(personal, limit):
    assert personal.stricter(Limit(5, 20)) == limit
