from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import pytest
from google.rpc import code_pb2

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    EVENT_KIND_DEFERRED,
)
from clarion.api.event.v1.work_pb2 import IntakeChunk
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.router import routing
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.notification_types import TypePolicy
from clarion.router.routing import Router
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.jetstream.errors import StreamFullError
from clarion.runtime.testing import FakeClock, capture_spans


@pytest.fixture
def router(
    neighbours: InMemoryNeighbours,
    outbox: Any,
    clock: FakeClock,
    scheduler: InMemoryScheduler,
) -> Router:
    return Router(neighbours, outbox.publisher, clock, scheduler)


def decisions(outbox: Any) -> list[tuple[str, str, str]]:
    return [
        (channel.channel, channel.outcome, channel.reason)
        for event in outbox.events
        for channel in event.decided.decision.channels
    ]


async def test_a_notification_becomes_jobs_and_one_decision(
    router: Router, outbox: Any, make_item: Any
) -> None:
    await router.route([make_item(channels=["push", "email"], priority="high")])
    assert {message.subject for message in outbox.publisher.published} == {
        "work.push.high",
        "work.email.high",
        "events.router",
    }
    assert len(outbox.jobs) == 3
    (event,) = outbox.events
    assert event.kind == EVENT_KIND_DECIDED


async def test_a_batch_asks_each_neighbour_once_for_each_tenant(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    items = [make_item(tenant) for tenant in ("a", "b") for _ in range(20)]
    await router.route(items)
    assert neighbours.calls == {"recipients": 2, "acquire": 2, "render": 2}
    assert {job.tenant_id for job in outbox.jobs} == {"a", "b"}
    assert len(outbox.events) == 40


async def test_jobs_of_a_batch_travel_in_one_chunk_a_subject(
    router: Router, outbox: Any, make_item: Any
) -> None:
    await router.route([make_item(channels=["email"]) for _ in range(100)])
    assert len(outbox.publisher.published) == 2
    assert len(outbox.jobs) == 100


async def test_a_large_batch_is_routed_in_runs_and_keeps_its_order(
    router: Router,
    outbox: Any,
    make_item: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing, "MOST_AT_ONCE", 30)
    items = [make_item(channels=["email"]) for _ in range(100)]
    await router.route(items)
    assert [job.notification_id for job in outbox.jobs] == [
        item.notification_id for item in items
    ]


async def test_who_gets_nothing_costs_no_permit_and_no_rendering(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    await router.route([make_item(user_id="nobody", channels=["push"])])
    assert decisions(outbox) == [("push", "skipped", "unknown_recipient")]
    assert neighbours.calls == {"recipients": 1}


NOON_IS_QUIET = QuietHours(start="11:00", end="13:00")


def fired(scheduler: InMemoryScheduler, clock: FakeClock) -> list[Any]:
    return [
        item
        for due in scheduler.fire(clock.now())
        for item in IntakeChunk.FromString(due.body).items
    ]


async def test_in_quiet_hours_what_disturbs_waits_and_the_inbox_does_not(
    router: Router,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    item = make_item(channels=["push", "in_app", "email"], priority="low")
    await router.route([item])
    assert [job.channel for job in outbox.jobs] == ["in_app"]
    until = clock.now() + timedelta(hours=1)
    (waiting,) = scheduler.scheduled.values()
    assert waiting.subject == f"later.release.demo.{item.notification_id}"
    assert (waiting.target, waiting.due) == ("due.intake.low", until)
    decided, deferred = outbox.events
    assert [
        (c.channel, c.outcome, c.reason, c.HasField("release_time"))
        for c in decided.decided.decision.channels
    ] == [
        ("push", "deferred", "quiet_hours", True),
        ("in_app", "planned", "", False),
        ("email", "deferred", "quiet_hours", True),
    ]
    assert (deferred.kind, deferred.reason) == (EVENT_KIND_DEFERRED, "quiet_hours")
    assert deferred.postponed.due_time.ToDatetime(UTC) == until
    assert deferred.postponed.notification == item.notification

    clock.set(until)
    await router.route(fired(scheduler, clock))
    assert [job.channel for job in outbox.jobs] == ["in_app", "push", "push", "email"]
    assert len({job.delivery_id for job in outbox.jobs}) == 4
    assert len({event.event_id for event in outbox.events}) == 3
    assert set(neighbours.permits) == {item.notification_id}  # one for both times
    assert not scheduler.scheduled


async def test_a_change_of_mind_is_honoured_at_the_release(
    router: Router,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    await router.route([make_item(channels=["push", "email"])])
    later = QuietHours(start="11:00", end="15:00")
    neighbours.people["ada"] = person(quiet_hours=later, push_enabled=False)
    clock.advance(timedelta(hours=1))
    await router.route(fired(scheduler, clock))
    clock.advance(timedelta(hours=2))
    (item,) = fired(scheduler, clock)
    assert (item.release, list(item.channels)) == (2, ["email"])
    await router.route([item])
    assert [job.channel for job in outbox.jobs] == ["email"]
    assert decisions(outbox) == [
        ("push", "deferred", "quiet_hours"),
        ("email", "deferred", "quiet_hours"),
        ("push", "skipped", "channel_disabled"),
        ("email", "deferred", "quiet_hours"),
        ("email", "planned", ""),
    ]


async def test_a_deferral_that_is_made_twice_is_one(
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    publisher: Any = FailingOnce(outbox.publisher, "events.router", UnavailableError())
    router = Router(neighbours, publisher, clock, scheduler)
    item = make_item(channels=["push"])
    with pytest.raises(UnavailableError):
        await router.route([item])
    (first,) = scheduler.scheduled.values()
    clock.advance(timedelta(minutes=10))
    await router.route([item])
    # The same in every part: the stream folds it, also when it has fired.
    assert list(scheduler.scheduled.values()) == [first]
    assert len(outbox.events) == 2


async def test_a_schedule_that_is_not_stored_leaves_nothing_told(
    router: Router,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    person: Any,
) -> None:
    neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    scheduler.error = UnavailableError()
    with pytest.raises(UnavailableError):
        await router.route([make_item(channels=["push"])])
    assert not outbox.events


async def test_a_permit_of_a_part_that_was_sent_is_not_given_back(
    router: Router,
    neighbours: InMemoryNeighbours,
    make_item: Any,
) -> None:
    neighbours.broken["gone"] = code_pb2.NOT_FOUND
    part, whole = (
        make_item(channels=["push", "in_app"], template_id="gone") for _ in range(2)
    )
    for item, channels in ((part, ["push"]), (whole, ["push", "in_app"])):
        item.release, item.channels[:] = 1, channels
    await router.route([part, whole])
    assert set(neighbours.permits) == {part.notification_id}


async def test_a_full_limit_takes_every_channel(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.limited["promotional"] = "daily"
    items = [
        make_item(type="newsletter", channels=["push", "email"]),
        make_item(channels=["email"]),
    ]
    await router.route(items)
    assert decisions(outbox) == [
        ("push", "rate_limited", "daily_limit"),
        ("email", "rate_limited", "daily_limit"),
        ("email", "planned", ""),
    ]
    assert len(outbox.jobs) == 1


class Registered:
    """Types with one policy for all."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def policy(self, tenant: str, type_: str) -> TypePolicy:
        return TypePolicy(type_, **self.fields)


async def test_over_a_limit_a_type_can_wait_for_room(
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    types = Registered(over_limit_policy="defer")
    router = Router(neighbours, outbox.publisher, clock, scheduler, types)
    neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    neighbours.limited["comment"] = "weekly"
    neighbours.available = clock.now() + timedelta(days=3)
    item = make_item(channels=["push", "in_app"])
    dies = make_item(channels=["in_app"], expires_at=neighbours.available)
    await router.route([item, dies])
    assert decisions(outbox) == [
        ("push", "deferred", "quiet_hours"),
        ("in_app", "deferred", "weekly_limit"),
        ("in_app", "expired", "weekly_limit"),
    ]
    # Each part when its own time comes, which is asked anew.
    clock.advance(timedelta(hours=1))
    await router.route(fired(scheduler, clock))
    assert decisions(outbox)[3:] == [
        ("push", "deferred", "weekly_limit"),
        ("in_app", "deferred", "weekly_limit"),
    ]
    assert not outbox.jobs
    neighbours.limited.clear()
    clock.advance(timedelta(days=3))
    await router.route(fired(scheduler, clock))
    assert [job.channel for job in outbox.jobs] == ["push", "push", "in_app"]


async def test_a_limit_that_never_has_room_drops_what_would_wait(
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    clock: FakeClock,
) -> None:
    types = Registered(over_limit_policy="defer")
    router = Router(neighbours, outbox.publisher, clock, scheduler, types)
    neighbours.limited["comment"] = "daily"  # none at all: no time is told
    await router.route([make_item(channels=["in_app"])])
    assert decisions(outbox) == [("in_app", "rate_limited", "daily_limit")]
    assert not scheduler.scheduled


async def test_only_decisions_that_need_it_carry_their_rules(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.limited["promotional"] = "daily"
    await router.route([make_item(), make_item(type="newsletter", channels=["sms"])])
    plain, limited = (event.decided.decision for event in outbox.events)
    assert not plain.rules
    assert [(rule.rule, rule.outcome) for rule in limited.rules] == [
        ("expiry", "pass"),
        ("recipient", "pass"),
        ("channel_preference", "pass"),
        ("category_channel_preference", "pass"),
        ("category_preference", "pass"),
        ("quiet_hours", "pass"),
        ("address", "pass"),
        ("suppression", "pass"),
        ("frequency_limit", "limit"),
    ]


async def test_what_was_sent_says_what_the_rules_saw_where_somebody_said_something(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    preferences = neighbours.people["ada"].preferences
    preferences.quiet_hours.CopyFrom(QuietHours(start="00:00", end="23:59"))
    preferences.version = 3
    await router.route([make_item(channels=["push"], priority="high")])
    (event,) = outbox.events
    decision = event.decided.decision
    assert decision.preferences_version == 3
    assert {rule.rule: rule.detail for rule in decision.rules}["quiet_hours"] == (
        "00:00 to 23:59 UTC; high priority passes"
    )
    assert all(rule.outcome == "pass" for rule in decision.rules)


async def test_a_template_that_fails_fails_its_notification_alone(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.broken["gone"] = code_pb2.NOT_FOUND
    items = [make_item(channels=["email"], template_id=id) for id in ("gone", "here")]
    await router.route(items)
    assert decisions(outbox) == [
        ("email", "failed", "template_not_found"),
        ("email", "planned", ""),
    ]


async def test_a_permit_that_nothing_was_rendered_for_is_given_back(
    router: Router, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.broken["gone"] = code_pb2.NOT_FOUND
    failed = make_item(channels=["email", "sms"], template_id="gone")
    sent, skipped = make_item(), make_item(user_id="nobody")
    await router.route([failed, sent, skipped])
    assert set(neighbours.permits) == {sent.notification_id}
    assert neighbours.calls["release"] == 1


async def test_a_notification_that_is_there_twice_is_routed_once(
    router: Router, outbox: Any, make_item: Any
) -> None:
    item = make_item(notification_id="n", channels=["email"], title="first")
    again = make_item(notification_id="n", channels=["email"], title="second")
    await router.route([item, again])
    assert [job.content.title for job in outbox.jobs] == ["first"]
    assert len(outbox.events) == 1


@pytest.mark.parametrize("neighbour", ["recipients", "acquire", "render"])
async def test_a_failing_neighbour_leaves_nothing_half_done(
    neighbour: str,
    router: Router,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    make_item: Any,
) -> None:
    neighbours.errors[neighbour].append(UnavailableError())
    items = [make_item() for _ in range(3)]
    with pytest.raises(UnavailableError):
        await router.route(items)
    assert not outbox.publisher.published
    await router.route(items)
    assert len(outbox.events) == 3
    assert len(neighbours.permits) == 3  # by request id: the same ones


class FailingOnce:
    """Publishes all but the first message to one subject, which meets an error."""

    def __init__(self, inner: Any, subject: str, error: Exception) -> None:
        self.inner, self.subject, self.error = inner, subject, error
        self.has_failed = False

    async def publish(self, subject: str, body: bytes, **more: Any) -> None:
        if subject == self.subject and not self.has_failed:
            self.has_failed = True
            raise self.error
        await self.inner.publish(subject, body, **more)


@pytest.mark.parametrize("subject", ["work.push.medium", "events.router"])
@pytest.mark.parametrize("error", [UnavailableError(), StreamFullError()])
async def test_what_was_published_before_a_failure_is_folded_when_routed_again(
    subject: str,
    error: Exception,
    outbox: Any,
    neighbours: InMemoryNeighbours,
    make_item: Any,
    clock: FakeClock,
) -> None:
    publisher: Any = FailingOnce(outbox.publisher, subject, error)
    router = Router(neighbours, publisher, clock, InMemoryScheduler())
    items = [make_item() for _ in range(3)]
    with pytest.raises(type(error)):
        await router.route(items)
    assert len(outbox.publisher.published) == 2
    await router.route(items)
    assert len(outbox.publisher.published) == 3
    ids = [job.delivery_id for job in outbox.jobs]
    assert len(ids) == len(set(ids)) == 9
    assert len(outbox.events) == 3


async def test_one_tenants_failure_does_not_leave_another_running(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    neighbours.errors["recipients"].append(UnavailableError())
    with pytest.raises(UnavailableError):
        await router.route([make_item("a"), make_item("b")])
    # When route ends, all of it has ended: b is done.
    assert {event.tenant_id for event in outbox.events} == {"b"}


async def test_tenants_with_little_each_share_messages(
    router: Router, outbox: Any, make_item: Any
) -> None:
    await router.route([make_item(tenant, channels=["email"]) for tenant in "abc"])
    assert len(outbox.publisher.published) == 2
    assert {job.tenant_id for job in outbox.jobs} == set("abc")
    assert {event.tenant_id for event in outbox.events} == set("abc")


async def test_what_is_tried_again_for_another_tenant_is_stored_once(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    items = [make_item(tenant, channels=["email"]) for tenant in "abc"]
    for _ in range(3):
        neighbours.errors["recipients"].append(UnavailableError())
        with pytest.raises(UnavailableError):
            await router.route(items)
    assert sorted(job.tenant_id for job in outbox.jobs) == ["b", "c"]
    assert sorted(event.tenant_id for event in outbox.events) == ["b", "c"]
    await router.route(items)
    assert {job.tenant_id for job in outbox.jobs} == set("abc")


TRACE = "00-{n:032x}-{n:016x}-{sampled}"


async def test_every_sampled_notification_has_a_span_in_its_own_trace(
    router: Router, outbox: Any, make_item: Any
) -> None:
    items = [make_item(channels=["email"]) for _ in range(3)]
    for number, item in enumerate(items, 1):
        item.trace_parent = TRACE.format(n=number, sampled=f"0{number % 2}")
    with capture_spans() as spans:
        await router.route(items)
    traces: Any = {span.context.trace_id: span for span in spans.finished}
    assert set(traces) == {1, 3}
    assert all(trace == span.parent.trace_id for trace, span in traces.items())
    handed_over = [job.trace_parent for job in outbox.jobs]
    assert handed_over[1] == items[1].trace_parent
    for place, number in ((0, 1), (2, 3)):
        own = traces[number].context.span_id
        assert handed_over[place] == f"00-{number:032x}-{own:016x}-01"
