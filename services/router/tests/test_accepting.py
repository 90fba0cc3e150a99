from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_SCHEDULED,
    EventChunk,
)
from clarion.api.event.v1.work_pb2 import IntakeChunk
from clarion.runtime.errors import (
    IdempotencyKeyReusedError,
    InvalidArgumentError,
    UnavailableError,
)
from clarion.runtime.ids import notification_id_for_key
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.testing import FakeClock

HOUR = timedelta(hours=1)


async def test_an_accepted_notification_is_stored_on_its_lane(
    front_door: Any, notify: Any, clock: FakeClock
) -> None:
    accepted = await front_door.accept(notify(priority="high", data={"n": 20}))
    (item,) = front_door.stored("high")
    assert (accepted.status, accepted.notification_id) == (
        "accepted",
        item.notification_id,
    )
    assert item.notification == notify(priority="high", data={"n": 20})
    assert (item.tenant_id, item.key_id, item.release) == ("demo", "key-1", 0)
    assert item.accepted_time.ToDatetime() == clock.now().replace(tzinfo=None)
    assert item.notification_id[14] == "7"


async def test_sends_that_arrive_together_share_a_message(
    front_door: Any, notify: Any
) -> None:
    answers = await asyncio.gather(*(front_door.accept(notify()) for _ in range(50)))
    assert len({answer.notification_id for answer in answers}) == 50
    assert len(front_door.stored()) == 50
    assert len(front_door.publisher.published) == 1


async def test_a_key_gives_its_id_and_one_notification(
    front_door: Any, notify: Any
) -> None:
    first = await front_door.accept(notify(idempotency_key="k"))
    again = await front_door.accept(notify(idempotency_key="k"))
    assert first == again
    assert first.notification_id == notification_id_for_key("demo", "k")
    assert len(front_door.stored()) == 1


async def test_a_key_with_another_body_is_refused_and_says_what_it_was_used_for(
    front_door: Any, notify: Any
) -> None:
    accepted = await front_door.accept(notify(idempotency_key="k"))
    with pytest.raises(IdempotencyKeyReusedError) as refused:
        await front_door.accept(notify(idempotency_key="k", title="Other"))
    assert refused.value.metadata == {
        "idempotency_key": "k",
        "notification_id": accepted.notification_id,
    }
    assert [one.field for one in refused.value.violations] == ["idempotency_key"]
    assert len(front_door.stored()) == 1


async def test_days_later_a_repetition_is_answered_and_not_stored_again(
    front_door: Any, notify: Any, clock: FakeClock
) -> None:
    first = await front_door.accept(notify(idempotency_key="k"))
    # The done marks that fold it downstream are over after a day.
    for days in (1, 7, 21):
        clock.advance(timedelta(days=days))
        assert await front_door.accept(notify(idempotency_key="k")) == first
        (again,) = await front_door.accept_all([notify(idempotency_key="k")])
        assert again == first
    assert len(front_door.stored()) == 1


async def test_the_order_in_which_data_is_written_is_not_another_body(
    front_door: Any, notify: Any
) -> None:
    one = notify(idempotency_key="k", data={"a": 1, "b": 2, "c": {"x": 1, "y": 2}})
    two = notify(idempotency_key="k", data={"c": {"y": 2, "x": 1}, "b": 2, "a": 1})
    assert await front_door.accept(one) == await front_door.accept(two)


async def test_concurrent_sends_with_one_key_get_one_id(
    front_door: Any, notify: Any
) -> None:
    sends = [front_door.accept(notify(idempotency_key="k")) for _ in range(20)]
    assert len(set(await asyncio.gather(*sends))) == 1
    assert len({item.notification_id for item in front_door.stored()}) == 1


async def test_one_key_twice_in_a_batch_is_stored_once(
    front_door: Any, notify: Any
) -> None:
    keyed = notify(idempotency_key="k")
    other = notify(idempotency_key="k", title="Other")
    first, same, reused = await front_door.accept_all([keyed, keyed, other])
    assert first == same
    assert isinstance(reused, IdempotencyKeyReusedError)
    assert len(front_door.stored()) == 1


async def test_a_refusal_is_never_remembered(front_door: Any, notify: Any) -> None:
    front_door.publisher.error = StreamFullError(retry_after=timedelta(seconds=1))
    with pytest.raises(StreamFullError):
        await front_door.accept(notify(idempotency_key="k"))
    front_door.publisher.error = None
    other = await front_door.accept(notify(idempotency_key="k", title="Other"))
    assert other.status == "accepted"


async def test_a_send_whose_end_is_not_known_keeps_its_key_and_can_be_repeated(
    front_door: Any, notify: Any
) -> None:
    front_door.publisher.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await front_door.accept(notify(idempotency_key="k"))
    # This refusal says nothing about the send before it, which may be stored.
    front_door.publisher.error = StreamFullError()
    with pytest.raises(StreamFullError):
        await front_door.accept(notify(idempotency_key="k"))
    front_door.publisher.error = None
    with pytest.raises(IdempotencyKeyReusedError):
        await front_door.accept(notify(idempotency_key="k", title="Other"))
    assert (await front_door.accept(notify(idempotency_key="k"))).status == "accepted"
    assert len(front_door.stored()) == 1


async def test_accepting_goes_on_without_valkey(front_door: Any, notify: Any) -> None:
    front_door.keys.error = UnavailableError()
    first = await front_door.accept(notify(idempotency_key="k"))
    again = await front_door.accept(notify(idempotency_key="k"))
    assert first == again  # and what is stored twice is folded by its id
    reused, same = [notify(idempotency_key="l", title=title) for title in ("x", "y")]
    answers = await front_door.accept_all([reused, reused, same])
    assert answers[0] == answers[1]
    assert isinstance(answers[2], IdempotencyKeyReusedError)


async def test_what_lies_ahead_is_scheduled_and_told(
    front_door: Any, notify: Any, clock: FakeClock
) -> None:
    due = clock.now() + HOUR
    accepted = await front_door.accept(notify(scheduled_at=due, priority="low"))
    (scheduled,) = front_door.scheduler.scheduled.values()
    assert accepted.status == "scheduled"
    assert scheduled.subject == f"later.intake.demo.{accepted.notification_id}"
    assert (scheduled.target, scheduled.due) == ("due.intake.low", due)
    (item,) = IntakeChunk.FromString(scheduled.body).items
    assert item.notification_id == accepted.notification_id
    (told,) = front_door.publisher.on("events.router")
    (event,) = EventChunk.FromString(told.body).events
    assert event.kind == EVENT_KIND_SCHEDULED
    assert event.postponed.notification == item.notification
    assert event.postponed.due_time == item.notification.scheduled_at


@pytest.mark.parametrize("ago", [timedelta(0), HOUR, timedelta(days=9999)])
async def test_a_past_time_means_now(
    ago: timedelta, front_door: Any, notify: Any, clock: FakeClock
) -> None:
    accepted = await front_door.accept(notify(scheduled_at=clock.now() - ago))
    assert accepted.status == "accepted"
    assert not front_door.scheduler.scheduled
    assert len(front_door.stored()) == 1


async def test_a_wrong_notification_is_refused_and_not_stored(
    front_door: Any, notify: Any
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await front_door.accept(notify(channels=["fax"]))
    assert refused.value.violations[0].field == "notification.channels[0]"
    assert not front_door.publisher.published


async def test_a_thousand_mixed_ones_are_each_answered_in_order(
    front_door: Any, notify: Any, clock: FakeClock
) -> None:
    makers = (
        lambda n: notify(priority=("low", "medium", "high")[n % 3]),
        lambda n: notify(user_id=""),
        lambda n: notify(scheduled_at=clock.now() + HOUR),
        lambda n: notify(channels=["fax"]),
        lambda n: notify(idempotency_key=f"k{n % 100}"),
    )
    sent = [makers[n % 5](n) for n in range(1000)]
    answers = await front_door.accept_all(sent)
    for index, answer in enumerate(answers):
        kind = index % 5
        if kind in (1, 3):
            field = "user_id" if kind == 1 else "channels[0]"
            assert answer.violations[0].field == f"notifications[{index}].{field}"
        else:
            assert answer.status == ("scheduled" if kind == 2 else "accepted")
    lanes = [front_door.stored(lane) for lane in ("low", "medium", "high")]
    assert sum(len(lane) for lane in lanes) == 200 + 20
    assert len(front_door.scheduler.scheduled) == 200


async def test_a_batch_of_which_a_part_is_stored_says_which(
    front_door: Any, notify: Any, clock: FakeClock
) -> None:
    front_door.scheduler.error = UnavailableError()
    later = notify(scheduled_at=clock.now() + HOUR)
    stored, failed = await front_door.accept_all([notify(), later])
    assert stored.status == "accepted"
    assert isinstance(failed, UnavailableError)


async def test_a_batch_of_which_nothing_is_stored_is_refused_as_a_whole(
    front_door: Any, notify: Any
) -> None:
    front_door.publisher.error = StreamFullError(retry_after=timedelta(seconds=1))
    with pytest.raises(StreamFullError):
        await front_door.accept_all([notify(), notify(priority="low"), notify(type="")])


async def test_whose_profile_is_needed_soon_is_told(
    front_door: Any, notify: Any, clock: FakeClock
) -> None:
    later = notify(user_id="eve", scheduled_at=clock.now() + HOUR)
    wrong = notify(user_id="bob", type="")
    one = await front_door.accept(notify())
    await front_door.accept(later)
    two, _, _ = await front_door.accept_all([notify(user_id="cy"), later, wrong])
    assert front_door.asked_ahead == [
        ("demo", {one.notification_id: "ada"}),
        ("demo", {two.notification_id: "cy"}),
    ]
