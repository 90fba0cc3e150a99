"""Digests as they are decided: what waits, what is skipped, and the rules told."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import NotificationEvent
from clarion.api.event.v1.work_pb2 import DigestChunk
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireResult
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.templating.v1.template_service_pb2 import RenderItem
from clarion.router.deciding import decide
from clarion.router.deliveries import render_items_for, write_down
from clarion.router.digests.folding import fold_of
from clarion.router.digests.windows import DigestPolicy, Wait, read
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.notification_types import TypePolicy
from clarion.router.permits import apply_permit
from clarion.router.plan import Plan
from clarion.router.routing import Router
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import FakeClock

HOUR = timedelta(hours=1)
HOURLY = TypePolicy(category="comment", digest=DigestPolicy(window=HOUR))
LIMITED = TypePolicy(category="comment", over_limit_policy="digest")
ALWAYS = QuietHours(start="00:00", end="23:59", timezone="UTC")


def outcomes(plan: Plan) -> list[tuple[str, str, str]]:
    return [(c.channel, c.outcome, c.reason) for c in plan.channels]


def templates(plan: Plan) -> list[str]:
    return [RenderItem.FromString(item).template_id for item in render_items_for(plan)]


def rules(plan: Plan) -> dict[tuple[str, str], str]:
    _, (_, encoded) = write_down(plan, {}, "", b"")
    decision = NotificationEvent.FromString(encoded).decided.decision
    return {(rule.rule, rule.outcome): rule.detail for rule in decision.rules}


@pytest.mark.parametrize("priority", ["low", "medium", "high"])
def test_a_type_that_digests_waits_on_every_channel_that_is_wanted(
    make_item: Any, person: Any, clock: FakeClock, priority: str
) -> None:
    item = make_item(channels=["push", "email", "in_app"], priority=priority)
    plan = decide(item, person(email_enabled=False), clock.now(), HOURLY)
    assert outcomes(plan) == [
        ("push", "digested", "digest"),
        ("email", "skipped", "channel_disabled"),
        ("in_app", "digested", "digest"),
    ]
    fold = fold_of(plan)
    assert fold is not None
    assert list(fold.channels) == ["push", "in_app"]
    assert read(fold) == Wait(HOUR)
    assert (fold.priority, fold.over_limit) == (priority, False)
    assert plan.channels[0].release_time == clock.now() + HOUR
    detail = rules(plan)["digest", "digest"]
    until = (clock.now() + HOUR).isoformat(timespec="seconds")
    assert detail == f"fixed; as the first of a window it waits until {until}"


def test_quiet_hours_are_looked_at_when_the_digest_is_sent(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    profile = person(quiet_hours=ALWAYS)
    item = make_item(channels=["push"])
    plan = decide(item, profile, clock.now(), HOURLY)
    assert outcomes(plan) == [("push", "digested", "digest")]
    assert "looked at when the digest is sent" in rules(plan)["quiet_hours", "pass"]
    item.digest.count = 2
    plan = decide(item, profile, clock.now(), HOURLY)
    assert outcomes(plan) == [("push", "deferred", "quiet_hours")]


def test_so_are_send_windows(make_item: Any, person: Any, clock: FakeClock) -> None:
    item = make_item(channels=["push"])
    window = item.notification.send_window
    now = clock.now()
    window.start = (now + HOUR).strftime("%H:%M")
    window.end = (now + 2 * HOUR).strftime("%H:%M")
    window.timezone = "UTC"
    plan = decide(item, person(), now, HOURLY)
    assert outcomes(plan) == [("push", "digested", "digest")]
    item.digest.count = 2
    plan = decide(item, person(), now, HOURLY)
    assert outcomes(plan) == [("push", "deferred", "send_window")]


def test_nothing_wanted_is_nothing_collected(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    item = make_item(channels=["push"])
    plan = decide(item, person(push_enabled=False), clock.now(), HOURLY)
    assert fold_of(plan) is None
    plain = decide(item, person(), clock.now(), LIMITED)
    assert plain.is_plain
    assert fold_of(plain) is None


def test_a_digest_is_not_digested_again_and_has_a_template_of_its_own(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    policy = TypePolicy(
        category="comment",
        template_id="one",
        channel_templates={"push": "one-push"},
        digest=DigestPolicy(window=HOUR, template_id="many"),
    )
    item = make_item(channels=["push"])
    item.digest.count = 2
    plan = decide(item, person(), clock.now(), policy)
    assert plan.is_plain
    assert templates(plan) == ["many"]
    item.digest.count = 1
    plan = decide(item, person(), clock.now(), policy)
    assert templates(plan) == ["one-push"]
    item.digest.count = 2
    bare = TypePolicy(category="comment", template_id="one", over_limit_policy="digest")
    plan = decide(item, person(), clock.now(), bare)
    assert templates(plan) == [""]


def test_over_a_limit_it_waits_for_room_with_the_others(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    full = AcquireResult(allowed=False, exceeded="daily")
    item = make_item(channels=["push", "email"])
    plan = decide(item, person(email_enabled=False), clock.now(), LIMITED)
    apply_permit(plan, full, clock.now())
    assert outcomes(plan)[0] == ("push", "rate_limited", "daily_limit")  # for ever

    full.available_time.FromDatetime(clock.now() + HOUR)
    plan = decide(item, person(email_enabled=False), clock.now(), LIMITED)
    apply_permit(plan, full, clock.now())
    assert outcomes(plan) == [
        ("push", "digested", "daily_limit"),
        ("email", "skipped", "channel_disabled"),
    ]
    fold = fold_of(plan)
    assert fold is not None
    assert fold.over_limit
    closes = fold.closes_time.ToDatetime(UTC)
    assert closes == clock.now() + HOUR + timedelta(milliseconds=1)
    assert ("frequency_limit", "digest") in rules(plan)

    item.digest.count = 3
    again = decide(item, person(), clock.now(), LIMITED)
    apply_permit(again, full, clock.now())
    assert outcomes(again)[0] == ("push", "deferred", "daily_limit")


def test_a_limit_of_one_channel_collects_that_channel_alone(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    permit = AcquireResult(allowed=True)
    for number, channel in enumerate(("email", "sms"), start=1):
        refusal = permit.channels.add(channel=channel, exceeded="hourly")
        refusal.available_time.FromDatetime(clock.now() + number * HOUR)
    item = make_item(channels=["push", "sms", "email"])
    plan = decide(item, person(), clock.now(), LIMITED)
    apply_permit(plan, permit, clock.now())
    assert outcomes(plan) == [
        ("push", "planned", ""),
        ("sms", "digested", "hourly_limit"),
        ("email", "digested", "hourly_limit"),
    ]
    fold = fold_of(plan)
    assert fold is not None
    assert list(fold.channels) == ["sms", "email"]
    # At the earlier of both times: what has no room then waits on.
    closes = fold.closes_time.ToDatetime(UTC)
    assert closes == clock.now() + HOUR + timedelta(milliseconds=1)


def test_what_expires_before_there_is_room_expires_at_once(
    make_item: Any, person: Any, clock: FakeClock
) -> None:
    full = AcquireResult(allowed=False, exceeded="daily")
    full.available_time.FromDatetime(clock.now() + HOUR)
    item = make_item(channels=["push"])
    item.notification.expires_at.FromDatetime(clock.now() + HOUR / 2)
    plan = decide(item, person(), clock.now(), LIMITED)
    apply_permit(plan, full, clock.now())
    assert outcomes(plan) == [("push", "expired", "daily_limit")]


class Hourly:
    def policy(self, tenant: str, type_: str) -> TypePolicy:
        return HOURLY if type_ == "comment" else TypePolicy(category=type_)


@pytest.fixture
def router(
    neighbours: InMemoryNeighbours, outbox: Any, clock: FakeClock, scheduler: Any
) -> Router:
    return Router(neighbours, outbox.publisher, clock, scheduler, Hourly())


def folded(outbox: Any) -> list[str]:
    return [
        step.fold.item.notification_id
        for message in outbox.publisher.published
        if message.subject.startswith("work.digest.")
        for step in DigestChunk.FromString(message.body).steps
    ]


async def test_it_takes_no_permit_and_waits_before_it_is_told(
    router: Router, outbox: Any, neighbours: InMemoryNeighbours, make_item: Any
) -> None:
    items = [make_item(channels=["push"]) for _ in range(3)]
    await router.route(items)
    assert folded(outbox) == [item.notification_id for item in items]
    assert not neighbours.permits
    subjects = [message.subject for message in outbox.publisher.published]
    assert subjects == ["work.digest.medium", "events.router"]
    # Routed again, the same chunk has the same id.
    await router.route(items)
    assert len(outbox.publisher.published) == 2


async def test_nothing_is_told_of_what_does_not_wait(
    router: Router, outbox: Any, make_item: Any
) -> None:
    outbox.publisher.error = UnavailableError("the stream does not answer")
    with pytest.raises(UnavailableError):
        await router.route([make_item(channels=["push"]), make_item(type="other")])
    assert not outbox.publisher.published
