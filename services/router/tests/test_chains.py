from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from google.rpc import code_pb2

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_DECIDED,
    EVENT_KIND_DEFERRED,
)
from clarion.api.event.v1.work_pb2 import Content, IntakeChunk, IntakeItem
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.templating.v1.template_service_pb2 import RenderResult
from clarion.router.admission import AdmissionLimits, objections
from clarion.router.cancelling import Cancellation, InMemoryCancelMarks
from clarion.router.deciding import decide
from clarion.router.explaining import Explanation
from clarion.router.in_memory import UNKNOWN, InMemoryNeighbours
from clarion.router.notification_types import TypePolicy
from clarion.router.plan import ChannelPlan, Plan
from clarion.router.routing import Router
from clarion.router.strategies.chain import use_first
from clarion.router.strategies.escalations import InMemoryEscalations
from clarion.router.strategies.stepping import Escalating, Stepping
from clarion.runtime.caller import Caller
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import GroupPublisher, InMemoryScheduler
from clarion.runtime.testing import FakeClock

CHANNELS = ("push", "email", "sms")
SITUATIONS = ("planned", "deferred", "skipped", "suppressed", "broken")
LATER = datetime(2026, 11, 23, 8, tzinfo=UTC)
NOON_IS_QUIET = QuietHours(start="11:00", end="13:00", timezone="Europe/London")
AFTER = timedelta(minutes=2)


class Registered:
    """Every type as it is said here."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def policy(self, tenant: str, type_: str) -> TypePolicy:
        return TypePolicy(type_, **self.fields)


class Mesh:
    """A router with its gate, and what comes back to it."""

    def __init__(self, neighbours: Any, outbox: Any, clock: FakeClock) -> None:
        self.neighbours, self.outbox, self.clock = neighbours, outbox, clock
        self.scheduler = InMemoryScheduler()
        self.escalations = InMemoryEscalations(clock.now)
        self.types = Registered(escalate_after=AFTER)
        router = Router(
            neighbours,
            outbox.publisher,
            clock,
            self.scheduler,
            self.types,
            stepping=Stepping(self.escalations, self.scheduler),
        )
        self.gate = Escalating(
            router,
            self.escalations,
            self.scheduler,
            outbox.publisher,
            self.types,
            clock,
        )

    async def route(self, *items: IntakeItem) -> None:
        await self.gate.route(items)

    async def fire(self) -> None:
        """What is due comes back."""
        for fired in self.scheduler.fire(self.clock.now()):
            await self.route(*IntakeChunk.FromString(fired.body).items)

    def fallback(self, channel: str) -> IntakeItem:
        """What the channel passes on."""
        (job,) = {j.fallback: j for j in self.jobs if j.channel == channel}.values()
        return IntakeItem.FromString(job.fallback)

    @property
    def jobs(self) -> list[Any]:
        jobs: list[Any] = self.outbox.jobs
        return jobs

    @property
    def decisions(self) -> list[list[tuple[str, str, str]]]:
        """Of each release the (channel, outcome, reason)."""
        found = {
            event.event_id: [
                (choice.channel, choice.outcome, choice.reason)
                for choice in event.decided.decision.channels
            ]
            for event in self.outbox.events
            if event.kind == EVENT_KIND_DECIDED
        }
        return list(found.values())


@pytest.fixture
def mesh(neighbours: Any, outbox: Any, clock: FakeClock) -> Mesh:
    return Mesh(neighbours, outbox, clock)


def plans(item: IntakeItem, strategy: str) -> Iterator[tuple[Plan, dict[Any, Any]]]:
    """A plan for each combination of what may become of three channels."""
    for situations in product(SITUATIONS, repeat=len(CHANNELS)):
        channels, rendered = [], {}
        for channel, situation in zip(CHANNELS, situations, strict=True):
            outcome = "planned" if situation == "broken" else situation
            plan = ChannelPlan(channel, outcome, "" if outcome == "planned" else "why")
            if situation == "deferred":
                plan.release_time = LATER
            channels.append(plan)
            result = RenderResult(key=item.notification_id, channel=channel)
            if situation == "broken":
                result.error.code = code_pb2.NOT_FOUND
            else:
                result.content.CopyFrom(Content(body="Hello"))
            rendered[item.notification_id, channel] = result
        policy = TypePolicy("comment")
        yield (
            Plan(item, "comment", "medium", Any, channels, policy, strategy=strategy),  # type: ignore[arg-type]
            rendered,
        )


def expected(situations: list[str], strategy: str) -> list[str]:
    wanted = ["failed" if found == "broken" else found for found in situations]
    if strategy == "all":
        return wanted
    for place, situation in enumerate(situations):
        if situation in ("planned", "deferred"):
            return wanted[: place + 1] + ["standby"] * (len(wanted) - place - 1)
    return wanted


@pytest.mark.parametrize("strategy", ["first_available", "escalate"])
def test_the_first_channel_that_does_is_used_and_the_others_stand_by(
    strategy: str, make_item: Any
) -> None:
    item = make_item(channels=list(CHANNELS), strategy=strategy)
    for plan, rendered in plans(item, strategy):
        situations = [
            "broken" if result.HasField("error") else channel.outcome
            for channel, result in zip(plan.channels, rendered.values(), strict=True)
        ]
        # As decide leaves it: behind what is deferred nothing is rendered.
        plan.stand_by("deferred")
        use_first(plan, rendered)
        outcomes = [channel.outcome for channel in plan.channels]
        assert outcomes == expected(situations, strategy)
        for channel in plan.channels:
            if channel.outcome == "standby":
                assert (channel.reason, channel.release_time) == (strategy, None)


@pytest.mark.parametrize("strategy", ["", "all"])
async def test_all_uses_all(mesh: Mesh, make_item: Any, strategy: str) -> None:
    await mesh.route(make_item(channels=list(CHANNELS), strategy=strategy))
    assert {job.channel for job in mesh.jobs} == set(CHANNELS)
    assert not any(job.fallback or job.fallback_deliveries for job in mesh.jobs)
    assert not mesh.scheduler.scheduled
    assert not mesh.escalations.known


async def test_a_type_says_how_its_channels_are_used(
    mesh: Mesh, make_item: Any
) -> None:
    mesh.types.fields["strategy"] = "first_available"
    await mesh.route(make_item(channels=list(CHANNELS)))
    assert {job.channel for job in mesh.jobs} == {"push"}
    await mesh.route(make_item(channels=list(CHANNELS), strategy="all"))
    assert {job.channel for job in mesh.jobs} == set(CHANNELS)


async def test_what_is_impossible_is_passed_over_at_once(
    mesh: Mesh, make_item: Any, person: Any
) -> None:
    ada = person(push_enabled=False)
    ada.suppressions.add(channel="email", address="ada@example.com", reason="bounce")
    mesh.neighbours.people["ada"] = ada
    await mesh.route(
        make_item(channels=["push", "email", "sms"], strategy="first_available")
    )
    assert mesh.decisions == [
        [
            ("push", "skipped", "channel_disabled"),
            ("email", "suppressed", "bounce"),
            ("sms", "planned", ""),
        ]
    ]
    (job,) = mesh.jobs
    assert not job.fallback


async def test_a_channel_that_cannot_be_rendered_is_passed_over(
    mesh: Mesh, make_item: Any
) -> None:
    mesh.types.fields["channel_templates"] = {"push": "p", "sms": "s", "email": "e"}
    mesh.neighbours.broken["p"] = code_pb2.NOT_FOUND
    await mesh.route(make_item(channels=["push", "sms", "email"], strategy="escalate"))
    assert mesh.decisions == [
        [
            ("push", "failed", "template_not_found"),
            ("sms", "planned", ""),
            ("email", "standby", "escalate"),
        ]
    ]
    assert {job.channel for job in mesh.jobs} == {"sms"}


async def test_where_no_channel_does_nothing_stands_by(
    mesh: Mesh, make_item: Any, person: Any
) -> None:
    mesh.neighbours.people["ada"] = person(push_enabled=False, sms_enabled=False)
    await mesh.route(make_item(channels=["push", "sms"], strategy="escalate"))
    assert mesh.decisions == [
        [
            ("push", "skipped", "channel_disabled"),
            ("sms", "skipped", "channel_disabled"),
        ]
    ]
    assert not mesh.scheduler.scheduled
    assert not mesh.escalations.known


async def test_every_delivery_of_the_used_channel_knows_what_is_next(
    mesh: Mesh, make_item: Any
) -> None:
    item = make_item(channels=["push", "sms", "email"], strategy="first_available")
    await mesh.route(item)
    assert [(job.channel, job.fallback_deliveries) for job in mesh.jobs] == [
        ("push", 2)
    ] * 2
    step = mesh.fallback("push")
    assert (step.notification_id, step.release) == (item.notification_id, 1)
    assert list(step.channels) == ["sms", "email"]
    assert not step.HasField("escalation")
    await mesh.route(step)
    await mesh.route(mesh.fallback("sms"))
    assert [job.channel for job in mesh.jobs] == ["push", "push", "sms", "email"]
    assert not mesh.jobs[-1].fallback
    assert len(mesh.neighbours.permits) == 1


async def test_a_chain_goes_on_as_it_began_whatever_its_type_says_then(
    mesh: Mesh, make_item: Any
) -> None:
    mesh.types.fields["strategy"] = "first_available"
    await mesh.route(make_item(channels=["push", "sms", "email"]))
    mesh.types.fields["strategy"] = "all"
    await mesh.route(mesh.fallback("push"))
    assert {job.channel for job in mesh.jobs} == {"push", "sms"}


async def test_a_channel_that_waits_is_waited_for_with_the_others_behind_it(
    mesh: Mesh, make_item: Any, person: Any, clock: FakeClock
) -> None:
    mesh.neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    await mesh.route(
        make_item(channels=["push", "in_app", "sms"], strategy="first_available")
    )
    assert mesh.decisions == [
        [
            ("push", "deferred", "quiet_hours"),
            ("in_app", "standby", "first_available"),
            ("sms", "standby", "first_available"),
        ]
    ]
    assert not mesh.neighbours.permits
    mesh.neighbours.people["ada"] = person(push_enabled=False)
    clock.advance(timedelta(hours=1))
    await mesh.fire()
    assert mesh.decisions[1] == [
        ("push", "skipped", "channel_disabled"),
        ("in_app", "planned", ""),
        ("sms", "standby", "first_available"),
    ]
    assert [job.channel for job in mesh.jobs] == ["in_app"]
    (deferred,) = [e for e in mesh.outbox.events if e.kind == EVENT_KIND_DEFERRED]
    assert deferred.reason == "quiet_hours"


async def test_what_would_expire_while_it_waits_is_passed_over(
    mesh: Mesh, make_item: Any, person: Any, clock: FakeClock
) -> None:
    mesh.neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    item = make_item(channels=["push", "in_app"], strategy="first_available")
    item.notification.expires_at.FromDatetime(clock.now() + timedelta(minutes=30))
    await mesh.route(item)
    assert mesh.decisions == [
        [("push", "expired", "quiet_hours"), ("in_app", "planned", "")]
    ]


async def test_an_escalation_goes_on_at_its_deadline(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["in_app", "push", "sms"], strategy="escalate")
    await mesh.route(item)
    (job,) = mesh.jobs
    assert (job.channel, job.escalate_until) == ("in_app", "read")
    (event,) = mesh.outbox.events
    first = event.decided.decision.channels[0]
    deadline = first.escalate_time.ToDatetime(UTC)
    assert timedelta(0) <= deadline - clock.now() - AFTER < timedelta(milliseconds=2)
    assert event.decided.decision.strategy == "escalate"
    for sent in (["push"] * 2, ["push"] * 2 + ["sms"]):
        await mesh.fire()
        clock.advance(AFTER + timedelta(milliseconds=1))
        await mesh.fire()
        assert [job.channel for job in mesh.jobs[1:]] == sent
    clock.advance(timedelta(days=1))
    await mesh.fire()
    assert len(mesh.jobs) == 4
    assert not mesh.scheduler.scheduled


@pytest.mark.parametrize("how", ["read", "delivered"])
async def test_a_mark_before_the_deadline_ends_the_escalation(
    mesh: Mesh, make_item: Any, clock: FakeClock, how: str
) -> None:
    mesh.types.fields["escalate_until"] = "delivered"
    item = make_item(channels=["in_app", "push", "sms"], strategy="escalate")
    await mesh.route(item)
    clock.advance(AFTER - timedelta(microseconds=1))
    mesh.escalations.mark("demo", item.notification_id, how)
    clock.advance(timedelta(days=1))
    # It needs nobody to tell so.
    mesh.neighbours.errors["recipients"] = [UnavailableError("away")]
    await mesh.fire()
    assert [job.channel for job in mesh.jobs] == ["in_app"]
    assert mesh.decisions[1] == [
        ("push", "skipped", f"already_{how}"),
        ("sms", "skipped", f"already_{how}"),
    ]
    rules = mesh.outbox.events[-1].decided.decision.rules
    assert [(rule.rule, rule.channel) for rule in rules[1:]] == [
        ("escalation", "push"),
        ("escalation", "sms"),
    ]


async def test_a_delivery_does_not_end_what_goes_on_until_it_is_read(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["in_app", "sms"], strategy="escalate")
    await mesh.route(item)
    mesh.escalations.mark("demo", item.notification_id, "delivered")
    clock.advance(AFTER + timedelta(milliseconds=1))
    await mesh.fire()
    assert [job.channel for job in mesh.jobs] == ["in_app", "sms"]


async def test_a_mark_at_the_deadline_is_too_late(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["in_app", "sms"], strategy="escalate")
    await mesh.route(item)
    clock.advance(AFTER)
    mesh.escalations.mark("demo", item.notification_id, "read")
    clock.advance(timedelta(milliseconds=1))
    await mesh.fire()
    assert [job.channel for job in mesh.jobs] == ["in_app", "sms"]


async def test_a_timer_that_is_early_by_the_other_clock_waits_on(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["in_app", "sms"], strategy="escalate")
    await mesh.route(item)
    (timer,) = mesh.scheduler.fire(clock.now() + timedelta(hours=1))
    (step,) = IntakeChunk.FromString(timer.body).items
    clock.advance(AFTER - timedelta(milliseconds=3))
    await mesh.route(step)
    assert [job.channel for job in mesh.jobs] == ["in_app"]
    (again,) = mesh.scheduler.scheduled.values()
    assert again.subject.startswith("later.early.demo.")
    clock.advance(timedelta(milliseconds=4))
    await mesh.fire()
    assert [job.channel for job in mesh.jobs] == ["in_app", "sms"]


async def test_of_a_fallback_and_a_timer_one_goes_on(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["push", "sms", "email"], strategy="escalate")
    await mesh.route(item)
    (timer,) = mesh.scheduler.scheduled.values()
    (late,) = IntakeChunk.FromString(timer.body).items
    await mesh.route(mesh.fallback("push"))
    assert [job.channel for job in mesh.jobs] == ["push", "push", "sms"]
    # The next step's timer took the place of the first one's.
    (next_timer,) = mesh.scheduler.scheduled.values()
    assert (next_timer.subject, timer.subject) == (timer.subject,) * 2
    assert next_timer.due == timer.due
    clock.advance(AFTER + timedelta(milliseconds=1))
    await mesh.route(late)
    assert [job.channel for job in mesh.jobs] == ["push", "push", "sms"]
    await mesh.fire()
    assert [job.channel for job in mesh.jobs][3:] == ["email"]


async def test_the_last_step_removes_the_timer_of_the_one_before(
    mesh: Mesh, make_item: Any
) -> None:
    await mesh.route(make_item(channels=["push", "sms"], strategy="escalate"))
    assert len(mesh.scheduler.scheduled) == 1
    await mesh.route(mesh.fallback("push"))
    assert [job.channel for job in mesh.jobs] == ["push", "push", "sms"]
    assert not mesh.scheduler.scheduled


async def test_a_step_that_waits_for_the_morning_is_asked_about_again(
    mesh: Mesh, make_item: Any, person: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["in_app", "sms"], strategy="escalate")
    await mesh.route(item)
    mesh.neighbours.people["ada"] = person(quiet_hours=NOON_IS_QUIET)
    clock.advance(AFTER + timedelta(milliseconds=1))
    await mesh.fire()
    assert mesh.decisions[1] == [("sms", "deferred", "quiet_hours")]
    clock.advance(timedelta(minutes=30))
    mesh.escalations.mark("demo", item.notification_id, "read")
    clock.advance(timedelta(minutes=30))
    await mesh.fire()
    assert mesh.decisions[2] == [("sms", "skipped", "already_read")]
    assert [job.channel for job in mesh.jobs] == ["in_app"]


async def test_an_escalation_that_expires_ends_as_expired(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["in_app", "sms"], strategy="escalate")
    item.notification.expires_at.FromDatetime(clock.now() + AFTER / 2)
    await mesh.route(item)
    clock.advance(AFTER + timedelta(milliseconds=1))
    await mesh.fire()
    assert mesh.decisions[1] == [("sms", "expired", "expired")]
    assert [job.channel for job in mesh.jobs] == ["in_app"]


@pytest.mark.parametrize("part", ["escalations", "scheduler", "publisher"])
async def test_a_step_that_was_not_stored_is_decided_again_as_it_was(
    mesh: Mesh, make_item: Any, clock: FakeClock, part: str
) -> None:
    item = make_item(channels=["in_app", "push", "sms"], strategy="escalate")
    double: Any = {
        "escalations": mesh.escalations,
        "scheduler": mesh.scheduler,
        "publisher": mesh.outbox.publisher,
    }[part]
    double.error = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await mesh.route(item)
    assert not mesh.jobs
    begun = clock.now()
    clock.advance(timedelta(seconds=20))
    double.error = None
    for _ in range(2):
        await mesh.route(item)
    assert len({job.delivery_id for job in mesh.jobs}) == 1
    (timer,) = mesh.scheduler.scheduled.values()
    # The deadline stays that of the first try, where that came so far.
    first = begun if part != "escalations" else clock.now()
    assert timer.due - first - AFTER == timedelta(milliseconds=1)


async def test_a_step_is_held_while_nobody_knows_whether_it_is_needed(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    await mesh.route(make_item(channels=["in_app", "sms"], strategy="escalate"))
    clock.advance(AFTER + timedelta(milliseconds=1))
    (timer,) = mesh.scheduler.fire(clock.now())
    (step,) = IntakeChunk.FromString(timer.body).items
    mesh.escalations.error = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await mesh.route(step)
    assert [job.channel for job in mesh.jobs] == ["in_app"]
    mesh.escalations.error = None
    mesh.neighbours.errors["recipients"] = [UnavailableError("away")]
    with pytest.raises(UnavailableError):
        await mesh.route(step)
    # It goes on now, though it was read after the deadline and before this try.
    mesh.escalations.mark("demo", step.notification_id, "read")
    await mesh.route(step)
    assert [job.channel for job in mesh.jobs] == ["in_app", "sms"]


async def test_a_cancel_removes_the_timer_and_is_told(
    mesh: Mesh, make_item: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["in_app", "sms"], strategy="escalate")
    await mesh.route(item)
    events = GroupPublisher[bytes](
        mesh.outbox.publisher, "events.router", lambda bodies: b"".join(bodies)
    )
    marks = InMemoryCancelMarks()
    cancellation = Cancellation(mesh.scheduler, marks, events, clock)
    # The first step may have been sent: it is not as if nothing had happened.
    assert await cancellation.cancel("demo", item.notification_id) == "cancelling"
    assert not mesh.scheduler.scheduled
    await events.close()


EXPLAINED = [
    (
        "first_available",
        [("push", "pass"), ("email", "standby"), ("sms", "standby")],
        False,
    ),
    ("escalate", [("push", "pass"), ("email", "standby"), ("sms", "standby")], True),
    ("all", [], False),
]


@pytest.mark.parametrize(("strategy", "told", "escalates"), EXPLAINED)
async def test_asking_first_tells_the_strategy_and_the_channel_in_use(
    neighbours: InMemoryNeighbours,
    clock: FakeClock,
    notify: Any,
    strategy: str,
    told: list[tuple[str, str]],
    escalates: bool,
) -> None:
    limits = AdmissionLimits([*CHANNELS, "in_app"], 65_536, timedelta(days=1830))
    types = Registered(escalate_after=AFTER, strategy=strategy)
    explanation = Explanation(neighbours, limits, clock, types)
    caller = Caller("demo", "key-1", frozenset({"*"}))
    asked = await explanation.explain(notify(channels=list(CHANNELS)), caller)
    trace = asked.decision
    assert trace.strategy == strategy
    rules = [(r.channel, r.outcome) for r in trace.rules if r.rule == "strategy"]
    assert rules == told
    assert trace.channels[0].HasField("escalate_time") == escalates


@pytest.mark.parametrize(
    ("asked", "policy", "field"),
    [
        ({"strategy": "escalate", "channels": ["sms"]}, {}, "channels"),
        ({"strategy": "escalate"}, {"channels": ("sms",)}, "channels"),
        ({"strategy": "escalate"}, {}, None),
        ({"strategy": "escalate", "channels": ["push", "sms"]}, {}, None),
        ({"strategy": "first_available", "channels": ["sms"]}, {}, None),
        ({"channels": ["sms"]}, {"strategy": "escalate"}, None),
    ],
)
def test_an_escalation_of_one_channel_is_refused_with_its_field(
    notify: Any,
    clock: FakeClock,
    asked: dict[str, Any],
    policy: dict[str, Any],
    field: str | None,
) -> None:
    limits = AdmissionLimits([*CHANNELS, "in_app"], 65_536, timedelta(days=1830))
    found = objections(
        notify(**asked), limits, clock.now(), "n", TypePolicy("comment", **policy)
    )
    assert [v.field for v in found] == ([] if field is None else [f"n.{field}"])


def test_who_is_not_known_has_no_channel_that_stands_by(make_item: Any) -> None:
    item = make_item(channels=["push", "sms"], strategy="escalate")
    plan = decide(item, UNKNOWN, datetime(2026, 11, 22, tzinfo=UTC))
    assert {channel.outcome for channel in plan.channels} == {"skipped"}
