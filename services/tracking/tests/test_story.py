"""Stories: told in parts and in any order they are the same; stored, they come back."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.tracking import composites, state
from clarion.tracking.event_values import NO_ID
from clarion.tracking.state import Status
from clarion.tracking.story import Story
from clarion.tracking.words import Words

ids = st.binary(min_size=16, max_size=16)
long = st.integers(0, (1 << 63) - 1)
short = st.integers(0, (1 << 15) - 1)
text = st.text(max_size=8)
claims = st.dictionaries(
    st.tuples(ids, text), st.tuples(long, st.integers(0, 17), text, long), max_size=4
)
attempts = st.dictionaries(
    st.tuples(ids, short),
    st.tuples(short, long, text, text, text, text, st.none() | long),
    max_size=4,
)
stories = st.builds(
    Story,
    st.just("demo"),
    st.sampled_from(["", "ada"]),
    st.sampled_from(["", "receipt"]),
    long,
    st.sampled_from([0, int(state.Fact.DECIDED), int(state.Fact.ACCEPTED)]),
    st.sampled_from([None, "orders"]),
    st.just("high"),
    st.none() | long,
    deliveries=claims,
    attempts=attempts,
)


@given(claims)
def test_deliveries_come_back_from_their_array(given):
    assert (
        composites.deliveries_of(composites.deliveries(7, given, Words())[4:]) == given
    )


@given(attempts)
def test_attempts_come_back_from_their_array(given):
    assert composites.attempts_of(composites.attempts(7, given, Words())[4:]) == given


def together(one, other):
    story = deepcopy(one)
    story.goes_on(other)
    return story


@given(stories, stories, stories)
def test_the_order_of_telling_leaves_no_trace(one, two, three):
    left = together(together(one, two), three)
    assert left == together(one, together(two, three))
    assert left == together(three, together(two, one))


@given(st.lists(ids, min_size=1, max_size=6), ids)
def test_a_story_knows_its_events_and_no_others(events, other):
    story = Story("demo", "", "", 0, event_ids=b"".join(events))
    assert all(story.has(event) for event in events)
    assert story.has(other) == (other in events)


@pytest.mark.parametrize("shift", [0, 1, 15])
def test_an_id_across_two_others_is_not_theirs(shift):
    one, two = bytes(range(16)), bytes(range(16, 32))
    story = Story("demo", "", "", 0, event_ids=one + two)
    assert story.has((one + two)[shift : shift + 16]) == (shift == 0)


@given(st.booleans(), st.sampled_from(Status))
def test_one_delivery_stands_as_the_general_rule_says(is_delivery, status):
    id = bytes(15) + b"\1" if is_delivery else NO_ID
    story = Story("demo", "", "", 0)
    story.claim((id, "push"), (1, int(status), "", 0))
    assert story.outcomes() == state.outcomes([("push", is_delivery, int(status))])
