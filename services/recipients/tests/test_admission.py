from __future__ import annotations

from datetime import timedelta

from clarion.recipients.cache import admission
from clarion.recipients.cache.admission import Admission

SPAN = timedelta(seconds=300)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def full(clock: Clock) -> Admission:
    admitting = Admission(SPAN, clock)
    admitting.admitted("demo", [f"early-{n}" for n in range(2 * admission.FREELY)])
    return admitting


def test_the_first_people_of_a_span_are_let_in_at_first_sight() -> None:
    assert Admission(SPAN, Clock()).admitted("demo", ["a", "b"]) == ["a", "b"]


def test_beyond_them_only_who_is_asked_for_again_is_let_in() -> None:
    admitting = full(Clock())

    first = admitting.admitted("demo", ["late"])
    second = admitting.admitted("demo", ["late"])

    assert (first, second) == ([], ["late"])


def test_a_person_of_another_tenant_is_another_person() -> None:
    admitting = full(Clock())
    admitting.admitted("demo", ["late"])

    assert admitting.admitted("other", ["late"]) == []


def test_the_span_before_counts_and_the_one_before_that_does_not() -> None:
    clock = Clock()
    admitting = full(clock)
    admitting.admitted("demo", ["late"])
    clock.now += 301
    fill_up = [f"next-{n}" for n in range(2 * admission.FREELY)]
    admitting.admitted("demo", fill_up)

    assert admitting.admitted("demo", ["late"]) == ["late"]
    clock.now += 301
    admitting.admitted("demo", fill_up)
    clock.now += 301
    admitting.admitted("demo", fill_up)
    assert admitting.admitted("demo", ["late"]) == []


def test_after_a_long_rest_nobody_was_seen_before() -> None:
    clock = Clock()
    admitting = full(clock)
    admitting.admitted("demo", ["late"])
    clock.now += 3000
    admitting.admitted("demo", [f"next-{n}" for n in range(2 * admission.FREELY)])

    assert admitting.admitted("demo", ["late"]) == []
