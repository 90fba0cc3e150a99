from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from clarion.api.event.v1.work_pb2 import IntakeChunk
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    AcquireItem,
    AcquireResult,
    ChannelRefusal,
    FrequencyLimit,
    LimitWindow,
)
from clarion.router.deciding import decide
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.notification_types import TypePolicy
from clarion.router.permits import apply_permit, permit_for, unused_permit
from clarion.router.plan import Plan
from clarion.router.routing import Router
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.testing import FakeClock

HOURLY = LimitWindow(span=Duration(seconds=3600), most=3)


def permit_of(plan: Plan) -> AcquireItem:
    return AcquireItem.FromString(permit_for(plan))


@pytest.fixture
def plan_for(make_item: Any, person: Any, clock: FakeClock) -> Any:
    def plan(policy: TypePolicy | None = None, **preferences: Any) -> Any:
        item = make_item(channels=["push", "sms"], type="otp")
        profile = person(**preferences)
        policy = policy or TypePolicy("security")
        return decide(item, profile, clock.now(), policy)

    return plan


def test_a_permit_names_the_type_and_the_channels_that_are_planned(
    plan_for: Any,
) -> None:
    plan = plan_for(push_enabled=False)
    assert permit_of(plan) == AcquireItem(
        request_id=plan.item.notification_id,
        user_id="ada",
        category="security",
        type="otp",
        channels=["sms"],
    )


def test_a_permit_carries_the_limits_of_the_type_and_of_the_person(
    plan_for: Any,
) -> None:
    limits = {"security": FrequencyLimit(daily=1), "otp": FrequencyLimit(weekly=2)}
    policy = TypePolicy("security", limits=(HOURLY,))
    permit = permit_of(plan_for(policy, frequency_limits=limits))
    assert permit.personal_limit == limits["security"]
    assert list(permit.type_limits.windows) == [HOURLY]
    assert permit.type_limits.personal_limit == limits["otp"]
    plain = permit_of(plan_for(TypePolicy("otp"), frequency_limits=limits))
    assert plain.personal_limit == limits["otp"]
    assert not plain.HasField("type_limits")


def outcomes(plan: Any) -> list[tuple[str, str, str]]:
    return [(one.channel, one.outcome, one.reason) for one in plan.channels]


def refusal(channel: str, exceeded: str, clock: FakeClock | None) -> ChannelRefusal:
    made = ChannelRefusal(channel=channel, exceeded=exceeded, policy_id="cap")
    if clock is not None:
        made.available_time.FromDatetime(clock.now() + timedelta(hours=1))
    return made


@pytest.mark.parametrize(
    ("over_limit", "has_time", "outcome"),
    [
        ("drop", True, "rate_limited"),
        ("defer", True, "deferred"),
        ("defer", False, "rate_limited"),
    ],
)
def test_a_channel_over_its_limit_is_taken_out_alone(
    over_limit: str, has_time: bool, outcome: str, plan_for: Any, clock: FakeClock
) -> None:
    plan = plan_for(TypePolicy("security", over_limit_policy=over_limit))
    refused = refusal("sms", "hourly", clock if has_time else None)
    apply_permit(plan, AcquireResult(allowed=True, channels=[refused]), clock.now())
    assert outcomes(plan) == [
        ("push", "planned", ""),
        ("sms", outcome, "hourly_limit"),
    ]


def test_what_cannot_be_counted_waits_half_a_minute_or_goes_on(
    plan_for: Any, clock: FakeClock
) -> None:
    closed, open_, in_part = plan_for(), plan_for(), plan_for()
    apply_permit(closed, AcquireResult(unchecked=True), clock.now())
    assert outcomes(closed) == [
        ("push", "deferred", "limits_unavailable"),
        ("sms", "deferred", "limits_unavailable"),
    ]
    wait = closed.channels[0].release_time - clock.now()
    assert wait == timedelta(seconds=30)
    apply_permit(open_, AcquireResult(allowed=True, unchecked=True), clock.now())
    assert len(open_.planned) == 2
    waits = ChannelRefusal(channel="push", unchecked=True)
    result = AcquireResult(allowed=True, unchecked=True, channels=[waits])
    apply_permit(in_part, result, clock.now())
    assert outcomes(in_part) == [
        ("push", "deferred", "limits_unavailable"),
        ("sms", "planned", ""),
    ]


def test_what_was_not_counted_is_not_given_back(
    plan_for: Any, clock: FakeClock
) -> None:
    plan = plan_for()
    assert unused_permit(plan) is None
    apply_permit(plan, AcquireResult(allowed=True, unchecked=True), clock.now())
    plan.object("failed", "render_failed")
    assert unused_permit(plan) is None


def test_of_channels_that_failed_only_theirs_is_given_back(
    plan_for: Any, clock: FakeClock
) -> None:
    plan = plan_for()
    apply_permit(plan, AcquireResult(allowed=True), clock.now())
    plan.channels[1].object("failed", "render_failed")
    permit = unused_permit(plan)
    assert permit is not None
    assert list(permit.channels) == ["sms"]
    plan.object("failed", "render_failed")
    whole = unused_permit(plan)
    assert whole is not None
    assert list(whole.channels) == []


async def test_what_waits_for_its_limits_is_asked_again_and_sent(
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    clock: FakeClock,
) -> None:
    router = Router(neighbours, outbox.publisher, clock, scheduler)
    neighbours.uncounted = "closed"
    expires_at = clock.now() + timedelta(seconds=20)
    items = [
        make_item(channels=["in_app"], type="newsletter"),
        make_item(channels=["in_app"], type="offer", expires_at=expires_at),
    ]
    await router.route(items)
    first, second = [
        event.decided.decision
        for event in outbox.events
        if event.WhichOneof("detail") == "decided"
    ]
    assert first.channels[0].outcome == "deferred"
    assert first.limits[0].unchecked
    assert not first.limits[0].allowed
    (rule,) = [rule for rule in first.rules if rule.rule == "frequency_limit"]
    assert (rule.outcome, "closed" in rule.detail) == ("defer", True)
    assert second.channels[0].outcome == "expired"
    assert not outbox.jobs

    clock.advance(timedelta(seconds=30))
    neighbours.uncounted = ""
    (due,) = scheduler.fire(clock.now())
    (later,) = IntakeChunk.FromString(due.body).items
    await router.route([later])
    assert [job.notification_id for job in outbox.jobs] == [items[0].notification_id]
    assert set(neighbours.permits) == {items[0].notification_id}


async def test_what_goes_on_uncounted_says_so_in_its_decision(
    outbox: Any,
    neighbours: InMemoryNeighbours,
    scheduler: InMemoryScheduler,
    make_item: Any,
    clock: FakeClock,
) -> None:
    router = Router(neighbours, outbox.publisher, clock, scheduler)
    neighbours.uncounted = "open"
    neighbours.broken["gone"] = code_pb2.NOT_FOUND
    await router.route(
        [
            make_item(channels=["in_app"]),
            make_item(channels=["in_app"], template_id="gone"),
        ]
    )
    decision = outbox.events[0].decided.decision
    assert decision.channels[0].outcome == "planned"
    (limit,) = decision.limits
    assert (limit.allowed, limit.unchecked) == (True, True)
    (rule,) = [rule for rule in decision.rules if rule.rule == "frequency_limit"]
    assert (rule.outcome, "open" in rule.detail) == ("pass", True)
    # A limiter that cannot count holds nobody up with what is to be given back.
    assert not neighbours.calls["release"]
    neighbours.uncounted = ""
    await router.route([make_item(channels=["in_app"])])
    assert not outbox.events[-1].decided.decision.limits
    assert not outbox.events[-1].decided.decision.rules
