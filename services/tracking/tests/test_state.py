from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1 import notification_event_pb2 as pb2
from clarion.tracking import state
from clarion.tracking.state import Fact, Rule, Status

STEPS = [*state.KIND_STEPS.values(), *state.OUTCOME_STEPS.values()]

claims = st.builds(
    state.claim,
    st.sampled_from(STEPS),
    st.sampled_from(["", "a", "timeout"]),
    st.integers(0, 5),
    st.integers(0, 3),
)

# (what happened, with its time and attempt), in the order of happening; then what holds
STORIES = [
    ([("planned", 0, 0)], Status.PLANNED),
    ([("planned", 0, 0), ("RETRYING", 1, 1)], Status.RETRYING),
    ([("RETRYING", 1, 1), ("UNKNOWN", 2, 2)], Status.UNKNOWN),
    ([("UNKNOWN", 1, 1), ("RETRYING", 2, 2)], Status.RETRYING),
    ([("planned", 0, 0), ("RETRYING", 1, 1), ("SENT", 2, 2)], Status.SENT),
    ([("RETRYING", 1, 8), ("DEAD_LETTERED", 2, 0)], Status.DEAD_LETTERED),
    ([("DEAD_LETTERED", 1, 0), ("REDRIVEN", 2, 0)], Status.RETRYING),
    (
        [("DEAD_LETTERED", 1, 0), ("REDRIVEN", 2, 0), ("DEAD_LETTERED", 3, 0)],
        Status.DEAD_LETTERED,
    ),
    ([("DEAD_LETTERED", 1, 0), ("REDRIVEN", 2, 0), ("SENT", 3, 9)], Status.SENT),
    ([("SENT", 1, 1), ("DELIVERED", 2, 0)], Status.DELIVERED),
    ([("SENT", 1, 1), ("UNDELIVERED", 2, 0)], Status.FAILED),
    ([("SENT", 1, 1), ("UNDELIVERED", 2, 0), ("OPENED", 3, 0)], Status.OPENED),
    ([("SENT", 1, 1), ("READ", 2, 0), ("CLICKED", 3, 0)], Status.READ),
    ([("deferred", 0, 0), ("skipped", 5, 0)], Status.SKIPPED),
    ([("standby", 0, 0), ("standby", 3, 0)], Status.STANDBY),
    ([("standby", 0, 0), ("deferred", 3, 0)], Status.DEFERRED),
    ([("standby", 0, 0), ("skipped", 5, 0)], Status.SKIPPED),
    ([("standby", 0, 0), ("failed", 5, 0)], Status.FAILED),
    ([("planned", 0, 0), ("RETRYING", 1, 1), ("EXPIRED", 2, 0)], Status.EXPIRED),
    ([("digested", 0, 0), ("EXPIRED", 2, 0)], Status.EXPIRED),
    ([("deferred", 0, 0), ("digested", 2, 0)], Status.DIGESTED),
]

MASKS = [
    (0, "processing"),
    (Fact.SCHEDULED, "scheduled"),
    (Fact.SCHEDULED | Fact.CANCELLED, "cancelled"),
    (Fact.DEFERRED | Fact.ACCEPTED, "deferred"),
    (Fact.DECIDED, "skipped"),
    (Fact.DECIDED | state.bits(Status.PLANNED), "processing"),
    (Fact.DECIDED | Fact.SCHEDULED | state.bits(Status.SENT), "sent"),
    (state.bits(Status.SENT, Status.PLANNED), "sent"),
    (state.bits(Status.SENT, Status.FAILED), "partially_failed"),
    (state.bits(Status.SENT, Status.FAILED, Status.RETRYING), "sent"),
    (state.bits(Status.FAILED, Status.RETRYING), "processing"),
    (state.bits(Status.FAILED, Status.SKIPPED), "failed"),
    (state.bits(Status.DEAD_LETTERED), "failed"),
    (state.bits(Status.OPENED, Status.SENT), "delivered"),
    (state.bits(Status.READ, Status.SENT), "read"),
    (state.bits(Status.RATE_LIMITED, Status.SKIPPED), "rate_limited"),
    (state.bits(Status.SUPPRESSED), "skipped"),
    (state.bits(Status.DEFERRED, Status.SKIPPED), "deferred"),
    (state.bits(Status.DEFERRED) | Fact.CANCELLED, "cancelled"),
    (Fact.DIGESTED, "digested"),
    (Fact.SPREAD, "spread"),
    (Fact.SPREAD | Fact.SCHEDULED, "spread"),
    (Fact.SPREAD | Fact.CANCELLED, "cancelled"),
    (Fact.DIGESTED | Fact.DECIDED | state.bits(Status.DIGESTED), "digested"),
    (state.bits(Status.DIGESTED, Status.SKIPPED), "digested"),
    (state.bits(Status.DIGESTED, Status.DEFERRED), "deferred"),
    (state.bits(Status.DIGESTED, Status.SENT), "sent"),
    (Fact.DIGESTED | state.bits(Status.EXPIRED), "expired"),
    (state.bits(Status.DIGESTED) | Fact.CANCELLED, "cancelled"),
    (state.bits(Status.SUPERSEDED), "cancelled"),
    (state.bits(Status.EXPIRED), "expired"),
    (state.bits(Status.PLANNED, Status.STANDBY), "processing"),
    (state.bits(Status.SENT, Status.STANDBY), "sent"),
    (state.bits(Status.DEFERRED, Status.STANDBY), "deferred"),
    (state.bits(Status.FAILED, Status.STANDBY), "processing"),
    (state.bits(Status.DEAD_LETTERED, Status.STANDBY), "processing"),
    (state.bits(Status.SUPPRESSED, Status.STANDBY), "processing"),
    (state.bits(Status.CANCELLED, Status.STANDBY), "cancelled"),
    (state.bits(Status.SUPERSEDED, Status.STANDBY), "cancelled"),
    (state.bits(Status.EXPIRED, Status.STANDBY), "expired"),
    (state.bits(Status.READ, Status.SKIPPED), "read"),
    (Fact.CHAIN | state.bits(Status.SENT, Status.FAILED), "sent"),
    (Fact.CHAIN | state.bits(Status.FAILED), "failed"),
]

CHANNELS = [
    ([], 0),
    ([("push", True, Status.SENT), ("push", True, Status.FAILED)], [Status.SENT]),
    (
        [("push", True, Status.SENT), ("sms", True, Status.FAILED)],
        [Status.SENT, Status.FAILED],
    ),
    ([("push", False, Status.DEFERRED)], [Status.DEFERRED]),
    (
        [("push", False, Status.STANDBY), ("push", True, Status.SENT)],
        [Status.SENT],
    ),
    (
        [("push", False, Status.DEFERRED), ("push", True, Status.FAILED)],
        [Status.FAILED],
    ),
]


def _step(word: str) -> tuple[int, Status, int]:
    if word in state.OUTCOME_STEPS:
        return state.OUTCOME_STEPS[word]
    return state.KIND_STEPS[pb2.EventKind.Value(f"EVENT_KIND_{word}")]


@given(st.lists(claims, min_size=1, max_size=12), st.randoms())
def test_any_order_and_any_repetition_give_the_same_state(made, random):
    again = made + random.choices(made, k=len(made))
    random.shuffle(again)
    assert max(again) == max(made)


@given(claims)
def test_a_weight_fits_the_column(made):
    assert 0 <= made[0] < 1 << 63


@given(st.lists(claims, min_size=2, max_size=8))
def test_comparing_as_the_database_does_picks_the_same_claim(made):
    # merge_deliveries leaves out the time: equal weights have equal times.
    assert max(made, key=lambda claim: claim[:3]) == max(made)


@pytest.mark.parametrize(("story", "status"), STORIES)
def test_a_story_ends_in_its_status(story, status):
    made = [state.claim(_step(word), "", at, tries) for word, at, tries in story]
    assert max(made)[1] == status


def test_the_first_receipt_and_the_last_attempt_give_the_time():
    sent = _step("SENT")
    assert max(state.claim(sent, "", 7), state.claim(sent, "", 3))[3] == 3
    retrying = _step("RETRYING")
    assert max(state.claim(retrying, "", 7, 1), state.claim(retrying, "", 9, 1))[3] == 9


@pytest.mark.parametrize(("mask", "status"), MASKS)
def test_a_mask_has_its_status(mask, status):
    assert state.notification_status(int(mask)) == status


@pytest.mark.parametrize(("deliveries", "statuses"), CHANNELS)
def test_channels_become_a_mask(deliveries, statuses):
    assert state.outcomes(deliveries) == state.bits(*statuses or [])


@given(st.integers(0, (1 << 30) - 1))
def test_every_mask_has_a_status(mask):
    assert state.notification_status(mask) in state.NOTIFICATION_STATUSES


def test_every_rule_can_hold():
    for position, rule in enumerate(state.RULES):
        masks = [sum(1 << bit for bit in bits) for bits in _choices(rule)]
        assert any(
            rule.holds(mask) and not any(r.holds(mask) for r in state.RULES[:position])
            for mask in masks
        ), rule


def _choices(rule: Rule) -> list[tuple[int, ...]]:
    chosen: list[tuple[int, ...]] = [()]
    for some in rule.every:
        ones = [bit for bit in range(30) if some >> bit & 1]
        chosen = [(*before, bit) for before in chosen for bit in ones]
    return chosen


def test_every_event_kind_is_known_to_one_table_or_says_nothing():
    silent = {"UNSPECIFIED", "COMPLAINED", "UNSUBSCRIBED", "FOLDED"}
    for number in pb2.EventKind.values():
        name = pb2.EventKind.Name(number).removeprefix("EVENT_KIND_")
        known = number in state.KIND_STEPS or number in state.KIND_FACTS
        assert known != (name in silent), name
