from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1.notification_event_pb2 import EVENT_KIND_DECIDED
from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireResult
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.router.v1.decision_pb2 import DecisionTrace
from clarion.api.router.v1.notification_service_pb2 import (
    ExplainNotificationRequest,
    SendNotificationRequest,
)
from clarion.router.admission import AdmissionLimits
from clarion.router.deciding import decide
from clarion.router.explaining import Explanation
from clarion.router.in_memory import InMemoryNeighbours
from clarion.router.notification_types import TypePolicy
from clarion.router.permits import apply_permit
from clarion.router.routing import Router
from clarion.router.rules import rules_of
from clarion.runtime.caller import Caller
from clarion.runtime.errors import InvalidArgumentError, UnavailableError
from clarion.runtime.ids import notification_id_for_key
from clarion.runtime.jetstream import InMemoryScheduler
from clarion.runtime.testing import FakeClock

CHANNELS = ["push", "email", "sms", "in_app"]
LIMITS = AdmissionLimits(CHANNELS, 65_536, timedelta(days=1830))
CALLER = Caller("demo", "key-1", frozenset({"*"}))
NOON_IS_QUIET = QuietHours(start="11:00", end="13:00", timezone="Europe/London")
HOUR = timedelta(hours=1)


class Registered:
    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def policy(self, tenant: str, type_: str) -> TypePolicy:
        return TypePolicy(type_, **self.fields)


def never(profile: Any, neighbours: Any, now: datetime) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """One situation and the rule that decides it, by channel."""

    name: str
    rule: str
    outcome: str
    arrange: Callable[[Any, Any, datetime], None] = never
    policy: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)


def off(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.preferences.email_enabled = False


def category_off(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.preferences.categories["comment"] = False


def consent_back(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.consents.add(channel="email", granted=False)


def category_channel_off(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.preferences.category_channels["comment"].channels["email"] = False


def quiet(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.preferences.quiet_hours.CopyFrom(NOON_IS_QUIET)


def homeless(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.recipient.ClearField("email")


def bounced(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.suppressions.add(
        channel="email", address="ada@example.com", reason="bounce"
    )


def stranger(profile: Any, neighbours: Any, now: datetime) -> None:
    profile.found = False


def limited(profile: Any, neighbours: Any, now: datetime) -> None:
    neighbours.limited["comment"] = "daily"
    neighbours.available = now + HOUR


def limited_on_email(profile: Any, neighbours: Any, now: datetime) -> None:
    neighbours.limited_channels["email"] = "hourly"
    neighbours.available = now + HOUR


def uncounted(profile: Any, neighbours: Any, now: datetime) -> None:
    neighbours.uncounted = "open"


def uncounted_closed(profile: Any, neighbours: Any, now: datetime) -> None:
    neighbours.uncounted = "closed"


def broken(profile: Any, neighbours: Any, now: datetime) -> None:
    neighbours.broken["default"] = code_pb2.INVALID_ARGUMENT


CASES = (
    Case("plain", "", "planned"),
    Case("off", "channel_preference", "skipped", off),
    Case("category", "category_preference", "skipped", category_off),
    Case("on it", "category_channel_preference", "skipped", category_channel_off),
    Case("consent", "consent", "skipped", consent_back),
    Case("quiet", "quiet_hours", "deferred", quiet),
    Case("skip", "quiet_hours", "skipped", quiet, {"quiet_hours_policy": "skip"}),
    Case("ignore", "", "planned", quiet, {"quiet_hours_policy": "ignore"}),
    Case("high", "", "planned", quiet, {}, {"priority": "high"}),
    Case("short", "quiet_hours", "expired", quiet, {"time_to_live": HOUR / 2}),
    Case("critical", "", "planned", quiet, {"critical": True}),
    Case("wanted", "", "planned", off, {"critical": True}),
    Case("address", "address", "skipped", homeless),
    Case("suppressed", "suppression", "suppressed", bounced),
    Case("stopped", "suppression", "suppressed", bounced, {"critical": True}),
    Case("stranger", "recipient", "skipped", stranger),
    Case("limit", "frequency_limit", "rate_limited", limited),
    Case(
        "wait", "frequency_limit", "deferred", limited, {"over_limit_policy": "defer"}
    ),
    Case(
        "too long",
        "frequency_limit",
        "expired",
        limited,
        {"over_limit_policy": "defer", "time_to_live": HOUR / 2},
    ),
    Case("one channel", "frequency_limit", "rate_limited", limited_on_email),
    Case(
        "one waits",
        "frequency_limit",
        "deferred",
        limited_on_email,
        {"over_limit_policy": "defer"},
    ),
    Case("open", "", "planned", uncounted),
    Case("closed", "frequency_limit", "deferred", uncounted_closed),
    Case(
        "closed too long",
        "frequency_limit",
        "expired",
        uncounted_closed,
        {"time_to_live": timedelta(seconds=20)},
    ),
    Case("template", "template", "failed", broken),
    Case("types template", "", "planned", never, {"template_id": "hello"}),
)


def comparable(decision: DecisionTrace) -> DecisionTrace:
    """Without what only a decision that needs explaining carries."""
    other = DecisionTrace()
    other.CopyFrom(decision)
    other.ClearField("rules")
    return other


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_explained_is_what_a_send_then_does(
    case: Case,
    neighbours: InMemoryNeighbours,
    outbox: Any,
    notify: Any,
    person: Any,
    clock: FakeClock,
) -> None:
    types = Registered(case.policy)
    profile = neighbours.people["ada"] = person()
    case.arrange(profile, neighbours, clock.now())
    notification = notify(channels=["email"], idempotency_key="k", **case.asked)
    explanation = Explanation(neighbours, LIMITS, clock, types)
    explained = (await explanation.explain(notification, CALLER)).decision
    assert not neighbours.permits
    assert not {"acquire", "release"} & set(neighbours.calls)
    item = IntakeItem(
        notification_id=notification_id_for_key("demo", "k"),
        tenant_id="demo",
        notification=notification,
    )
    item.accepted_time.FromDatetime(clock.now())
    router = Router(neighbours, outbox.publisher, clock, InMemoryScheduler(), types)
    await router.route([item])
    done = outbox.events[0].decided.decision
    assert comparable(explained) == comparable(done)
    assert list(done.rules) in ([], list(explained.rules))

    (channel,) = explained.channels
    assert channel.outcome == case.outcome
    objecting = [rule.rule for rule in explained.rules if rule.outcome != "pass"]
    assert objecting == ([case.rule] if case.rule else [])
    told = {"deferred": "defer", "rate_limited": "limit", "failed": "fail"}
    if objecting:
        assert explained.rules[-1].rule == case.rule
        expected = told.get(case.outcome, "skip")
        if case.name.endswith("too long"):
            expected = "limit"
        assert explained.rules[-1].outcome == expected


async def test_a_dry_run_shows_what_would_be_said_where_it_would_be_sent(
    neighbours: InMemoryNeighbours, notify: Any, person: Any, clock: FakeClock
) -> None:
    neighbours.people["ada"] = person(sms_enabled=False)
    explanation = Explanation(neighbours, LIMITS, clock, Registered({}))
    asked = notify(channels=["email", "sms", "in_app"], title="Hello")
    _, contents = await explanation.explain(asked, CALLER)
    assert [content.channel for content in contents] == ["email", "in_app"]
    assert all("Hello" in content.title for content in contents)
    assert contents[0].template_id


async def test_rules_say_what_they_saw_but_no_address(
    neighbours: InMemoryNeighbours, notify: Any, person: Any, clock: FakeClock
) -> None:
    profile = neighbours.people["ada"] = person(
        quiet_hours=NOON_IS_QUIET, push_enabled=True, categories={"comment": True}
    )
    profile.suppressions.add(channel="push", address="token-1", reason="unregistered")
    explanation = Explanation(neighbours, LIMITS, clock, Registered({}))
    decision, _ = await explanation.explain(
        notify(channels=["push", "in_app"], category="social"), CALLER
    )
    assert [(r.rule, r.channel, r.outcome, r.detail) for r in decision.rules[:10]] == [
        ("expiry", "", "pass", "never"),
        ("recipient", "", "pass", "known"),
        ("channel_preference", "push", "pass", "push_enabled is on"),
        (
            "category_channel_preference",
            "push",
            "pass",
            "comment is not set, social is not set",
        ),
        ("category_preference", "push", "pass", "comment is on, social is not set"),
        (
            "quiet_hours",
            "push",
            "defer",
            "11:00 to 13:00 Europe/London; until 2026-11-22T13:00:00+00:00",
        ),
        ("channel_preference", "in_app", "pass", "in_app_enabled is not set"),
        (
            "category_channel_preference",
            "in_app",
            "pass",
            "comment is not set, social is not set",
        ),
        ("category_preference", "in_app", "pass", "comment is on, social is not set"),
        ("quiet_hours", "in_app", "pass", "the channel does not disturb"),
    ]
    assert [r.rule for r in decision.rules[10:]] == [
        "address",
        "suppression",
        "frequency_limit",
        "template",
    ]
    text = str(decision)
    for secret in ("ada@", "token-", "+1415", "Hello"):
        assert secret not in text


ARRANGEMENTS = (off, category_off, category_channel_off, quiet, homeless, bounced)


@given(
    arranged=st.sets(st.sampled_from(ARRANGEMENTS)),
    critical=st.booleans(),
    allowed=st.booleans(),
)
def test_the_rules_end_with_the_one_that_objected(
    arranged: set[Any], critical: bool, allowed: bool, notify: Any, person: Any
) -> None:
    now, profile = FakeClock().now(), person()
    for arrange in arranged:
        arrange(profile, None, now)
    item = IntakeItem(notification=notify(channels=["in_app", "email"]))
    plan = decide(item, profile, now, TypePolicy("comment", critical=critical))
    if plan.planned:
        apply_permit(plan, AcquireResult(allowed=allowed, exceeded="daily"), now)
    rules = list(rules_of(plan))
    for channel in plan.channels:
        own = [rule for rule in rules if rule.channel == channel.channel]
        is_limited = channel.outcome == "rate_limited"
        ends_well = channel.outcome == "planned" or is_limited
        assert (own[-1].outcome == "pass") is ends_well
        assert all(rule.outcome == "pass" for rule in own[:-1])
        assert len({rule.rule for rule in own}) == len(own)
    assert any(rule.outcome == "limit" for rule in rules) is (
        bool(plan.permit) and not allowed
    )


async def test_what_would_be_refused_is_refused(
    neighbours: InMemoryNeighbours, notify: Any, clock: FakeClock
) -> None:
    explanation = Explanation(neighbours, LIMITS, clock, Registered({}))
    with pytest.raises(InvalidArgumentError):
        await explanation.explain(notify(channels=["fax"]), CALLER)
    neighbours.errors["peek"].append(UnavailableError())
    with pytest.raises(UnavailableError):
        await explanation.explain(notify(), CALLER)


async def explain(running: Any, notification: Any) -> DecisionTrace:
    request = ExplainNotificationRequest(notification=notification)
    return (await running.stub.ExplainNotification(request)).decision


async def test_the_service_explains_without_doing(
    router: Any, notify: Any, neighbours: Any, person: Any
) -> None:
    now = datetime.now(UTC)
    hours = QuietHours(
        start=(now - HOUR).strftime("%H:%M"), end=(now + HOUR).strftime("%H:%M")
    )
    neighbours.people["ada"] = person(quiet_hours=hours, sms_enabled=False)
    notification = notify(channels=CHANNELS, idempotency_key="k")
    explained = await explain(router, notification)
    assert [c.outcome for c in explained.channels] == [
        "deferred",
        "deferred",
        "skipped",
        "planned",
    ]
    assert not neighbours.permits
    request = SendNotificationRequest(notification=notification)
    await router.stub.SendNotification(request)
    events = await router.until(router.events, 2, 5)
    (done,) = [e.decided.decision for e in events if e.kind == EVENT_KIND_DECIDED]
    done.ClearField("decided_time")
    explained.ClearField("decided_time")
    again = [rule for rule in explained.rules if rule.rule != "template"]
    assert [rule for rule in done.rules if rule.rule != "template"] == again
    assert list(done.channels) == list(explained.channels)
    (job,) = await router.jobs("work.in_app.>")
    assert job.delivery_id == explained.channels[3].deliveries[0].delivery_id


async def test_an_explanation_without_a_key_promises_no_delivery_ids(
    router: Any, notify: Any
) -> None:
    explained = await explain(router, notify(channels=["push"]))
    deliveries = explained.channels[0].deliveries
    assert [(d.delivery_id, d.device_id) for d in deliveries] == [
        ("", "d1"),
        ("", "d2"),
    ]


async def test_a_bad_notification_is_not_explained(router: Any, notify: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await explain(router, notify(channels=["fax"]))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
