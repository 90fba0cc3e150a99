from __future__ import annotations

import pytest

from clarion.ratelimit.counters import Counter
from clarion.ratelimit.limit_policy import LimitPolicy, scope
from clarion.ratelimit.policy import Asked, PartialLimit, Policies
from clarion.ratelimit.window import DAY, HOUR, WEEK, Window


def policy(policy_id="p", **fields):
    fields.setdefault("windows", (Window(HOUR, 1, policy_id),))
    return LimitPolicy(policy_id, **fields)


@pytest.mark.parametrize(
    ("fields", "category", "asked", "holds"),
    [
        ({}, "news", Asked("a", ("sms",)), True),
        ({"category": "news"}, "news", Asked("a"), True),
        ({"category": "news"}, "offers", Asked("a"), False),
        ({"type": "a"}, "news", Asked("a"), True),
        ({"type": "a"}, "news", Asked("b"), False),
        ({"type": "a"}, "news", Asked(), False),
        ({"channel": "sms"}, "news", Asked("a", ("sms", "push")), True),
        ({"channel": "sms"}, "news", Asked("a", ("push",)), False),
        ({"channel": "sms"}, "news", Asked("a"), False),
        (
            {"category": "news", "type": "a", "channel": "sms"},
            "news",
            Asked("a", ("sms",)),
            True,
        ),
        (
            {"category": "news", "type": "a", "channel": "sms"},
            "news",
            Asked("b", ("sms",)),
            False,
        ),
    ],
)
def test_a_policy_holds_for_what_it_names(fields, category, asked, holds):
    counters = Policies(scoped=(policy(**fields),)).counters(category, None, asked)
    found = {window.policy_id for counter in counters for window in counter.windows}
    assert ("p" in found) == holds


def test_without_a_policy_that_holds_there_is_only_the_category():
    policies = Policies(scoped=(policy(type="a"),))
    assert policies.counters("news", None, Asked("b", ("sms",))) == ()


def test_policies_of_one_scope_share_a_counter():
    policies = Policies(scoped=(policy("p"), policy("q"), policy("s", channel="sms")))
    counters = policies.counters("news", None, Asked("a", ("sms",)))
    assert [(one.scope, one.channel) for one in counters] == [
        ("news", ""),
        ("~||", ""),
        ("~||sms", "sms"),
    ]
    assert [window.policy_id for window in counters[1].windows] == ["p", "q"]


def test_a_policy_of_a_category_adds_windows_to_its_counter():
    policies = Policies(scoped=(policy(category="news"),))
    assert policies.counters("news", PartialLimit(daily=2), Asked()) == (
        Counter(
            "news",
            "",
            (
                Window(DAY, 2, "personal:news"),
                Window(WEEK, 500, "category:news"),
                Window(HOUR, 1, "p"),
            ),
        ),
    )


def test_the_windows_of_a_type_and_of_the_person_for_it_are_one_counter():
    asked = Asked("a", (), (Window(HOUR, 1, "type:a"),), PartialLimit(weekly=3))
    policies = Policies(scoped=(policy(type="a"),))
    _, of_type = policies.counters("news", None, asked)
    assert of_type.scope == scope("", "a")
    assert of_type.windows == (
        Window(HOUR, 1, "p"),
        Window(HOUR, 1, "type:a"),
        Window(WEEK, 3, "personal:a"),
    )


def test_all_that_a_permit_may_be_counted_in_is_released():
    policies = Policies(
        scoped=(
            policy("all"),
            policy("other", type="b"),
            policy("push", channel="push"),
            policy("sms", channel="sms"),
            policy("failure", on_failure="open", windows=(), channel="email"),
        )
    )
    assert policies.scopes("news", None) == ("news",)
    assert policies.scopes("news", Asked("a")) == (
        *("news", "~|a|", "~||", "~||push", "~||sms"),
    )
    assert policies.scopes("news", Asked("a", ("sms", "email"))) == ("~||sms",)


SAYS = [
    ([], "news", "open"),
    ([], "order_updates", "open"),
    ([], "security", "open"),
    ([], "promotional", "closed"),
    ([{"on_failure": "open"}], "promotional", "open"),
    ([{"on_failure": "closed"}], "news", "closed"),
    ([{"on_failure": "open"}, {"on_failure": "closed"}], "news", "closed"),
    ([{"on_failure": "open", "category": "news"}], "promotional", "closed"),
    ([{"on_failure": "closed", "type": "b"}], "news", "open"),
    ([{"on_failure": "open", "channel": "sms"}], "promotional", "closed"),
    ([{"on_failure": "closed", "channel": "sms"}], "news", "sms"),
    ([{"on_failure": "closed", "channel": "push"}], "news", "open"),
]


@pytest.mark.parametrize(("said", "category", "waits"), SAYS)
def test_what_cannot_be_counted_is_sent_or_waits_by_policy(said, category, waits):
    scoped = tuple(policy(f"p{n}", **fields) for n, fields in enumerate(said))
    closed = Policies(scoped=scoped).closed_channels(category, Asked("a", ("sms",)))
    assert [refusal.channel or "closed" for refusal in closed] == (
        [] if waits == "open" else [waits]
    )
