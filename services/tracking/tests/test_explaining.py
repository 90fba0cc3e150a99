from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
import pytest_asyncio

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.api.router.v1.decision_pb2 import RuleOutcome
from clarion.api.tracking.v1 import tracking_service_pb2 as pb2
from clarion.api.tracking.v1 import tracking_service_pb2_grpc as tracking_grpc
from clarion.runtime.clock import SystemClock
from clarion.runtime.testing import refused, serve
from clarion.tracking.tracking_servicer import TrackingServicer

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def explain(repository, arrivals):
    servicer = TrackingServicer(repository, arrivals, SystemClock())
    async with serve(
        (tracking_grpc.add_TrackingServiceServicer_to_server, servicer),
        keys=[("other-key", "other", ["*"])],
    ) as harness:

        async def asked(id: str, key: str = "") -> pb2.ExplainNotificationResponse:
            channel = harness.channel(key) if key else harness.channel()
            stub = tracking_grpc.TrackingServiceStub(channel)
            request = pb2.ExplainNotificationRequest(notification_id=id)
            return await stub.ExplainNotification(request)

        yield asked


def rule(name: str, channel: str, outcome: str, detail: str = "") -> RuleOutcome:
    return RuleOutcome(rule=name, channel=channel, outcome=outcome, detail=detail)


def decided(make: Any, n: str, channels: Any, release: int = 0, **more: Any) -> Any:
    rules = more.pop("rules", ())
    part = str(release) if release else ""
    event = make.decided(n, channels, part=part, **more)
    decision = event.decided.decision
    decision.release = release
    decision.preferences_version = 4
    decision.default_preferences_version = 2
    decision.rules.extend(rules)
    return event


def receipt(make: Any, kind: str, n: str, delivery: str, at: float) -> Any:
    told = event_pb2.Receipt(provider="fcm", provider_status="OK")
    return make.event(kind, n, at=at, channel="push", delivery=delivery, receipt=told)


async def test_what_was_sent_is_explained_with_attempts_and_receipts(
    explain, writer, make
):
    n = make.id()
    push = make.delivery(n)
    await writer.write(
        make.batch(
            decided(make, n, {"push": [push]}),
            make.attempt("retrying", n, push, 1, at=1, reason="timeout"),
            make.attempt("sent", n, push, 2, at=2),
            receipt(make, "delivered", n, push, at=3),
            receipt(make, "opened", n, push, at=4),
        )
    )
    told = await explain(n)
    assert (told.notification_id, told.user_id, told.category) == (
        n,
        "ada",
        "order_updates",
    )
    assert told.accepted_time.ToDatetime(UTC) == make.START
    assert told.request.title == "Your order"
    (channel,) = told.channels
    assert (channel.channel, channel.status, channel.reason) == ("push", "opened", "")
    assert channel.summary == "the person opened it, after 2 attempts"
    (verdict,) = channel.verdicts
    assert verdict.decision.outcome == "planned"
    assert (verdict.preferences_version, verdict.default_preferences_version) == (4, 2)
    assert [(r.rule, r.outcome) for r in verdict.rules] == [("defaults", "pass")]
    (delivery,) = channel.deliveries
    assert delivery.delivery.delivery_id == push
    assert [a.outcome for a in delivery.delivery.attempts] == ["retrying", "sent"]
    assert [(r.event, r.provider) for r in delivery.receipts] == [
        ("delivered", "fcm"),
        ("opened", "fcm"),
    ]
    assert not delivery.dead_letters


async def test_why_nothing_was_sent_is_told_by_the_rule_that_objected(
    explain, writer, make
):
    n = make.id()
    push = make.delivery(n)
    rules = [
        rule("expiry", "", "pass", "never"),
        rule("channel_preference", "push", "pass", "push_enabled is not set"),
        rule("channel_preference", "sms", "skip", "sms_enabled is off"),
        rule("frequency_limit", "", "limit", "full for the others"),
    ]
    channels = {"push": [push], "sms": ("skipped", "channel_disabled")}
    await writer.write(make.batch(decided(make, n, channels, rules=rules)))
    told = await explain(n)
    assert told.summary == "processing: push planned, sms skipped (channel_disabled)"
    push_, sms = told.channels
    assert sms.summary == ("not sent: the channel is switched off (sms_enabled is off)")
    assert not sms.deliveries
    assert list(sms.verdicts[0].rules) == [rules[0], rules[2], rules[3]]
    assert list(push_.verdicts[0].rules) == [*rules[:2], rules[3]]
    assert push_.summary == "handed over to the channel, not sent yet"


async def test_every_release_is_told_in_its_order(explain, writer, make):
    n = make.id()
    push = make.delivery(n)
    quiet = decided(
        make,
        n,
        {"push": ("deferred", "quiet_hours"), "in_app": ("skipped", "no_address")},
        rules=[rule("quiet_hours", "push", "defer", "22:00 to 08:00 UTC")],
    )
    postponed = event_pb2.Postponed()
    postponed.due_time.FromDatetime(make.START + timedelta(hours=8))
    waits = make.event("deferred", n, at=0, reason="quiet_hours", postponed=postponed)
    await writer.write(make.batch(quiet, waits))
    told = await explain(n)
    assert told.status == "deferred"
    assert told.channels[0].summary == (
        "waits, and is decided anew then: the person has quiet hours"
        " (22:00 to 08:00 UTC)"
    )
    # The second decision comes twice, and as if a slow clock had made it.
    again = decided(make, n, {"push": [push]}, release=1, at=-5)
    await writer.write(make.batch(again))
    await writer.write(make.batch(again, make.attempt("sent", n, push, 1, at=2)))
    told = await explain(n)
    assert [decision.release for decision in told.decisions] == [0, 1]
    first, second = told.channels[0].verdicts
    assert (first.decision.outcome, second.decision.outcome) == ("deferred", "planned")
    assert [c.channel for c in told.channels] == ["push", "in_app"]
    assert told.channels[0].summary == "the provider took it"
    assert len(told.channels[1].verdicts) == 1


async def test_a_dead_letter_is_told_with_its_redrive(explain, writer, make):
    n = make.id()
    push = make.delivery(n)

    def of(kind: str, at: float, part: str = "") -> Any:
        return make.event(
            kind,
            n,
            at=at,
            channel="push",
            delivery=push,
            reason="attempts_exhausted" if kind == "dead_lettered" else "",
            part=part,
        )

    start = [
        decided(make, n, {"push": [push]}),
        *(make.attempt("retrying", n, push, k, at=k) for k in (1, 2, 3)),
        of("dead_lettered", 4),
    ]
    await writer.write(make.batch(*start))
    (channel,) = (await explain(n)).channels
    assert channel.summary == (
        "given up, and kept among the dead letters, after 3 attempts:"
        " every attempt failed"
    )
    await writer.write(
        make.batch(of("redriven", 5), of("dead_lettered", 6, part="again"))
    )
    (channel,) = (await explain(n)).channels
    letters = channel.deliveries[0].dead_letters
    assert [letter.reason for letter in letters] == ["attempts_exhausted"] * 2
    assert [letter.HasField("redriven_time") for letter in letters] == [True, False]


async def test_of_several_devices_the_best_speaks_for_the_channel(
    explain, writer, make
):
    n = make.id()
    old, new = make.delivery(n, n=0), make.delivery(n, n=1)
    await writer.write(
        make.batch(
            decided(make, n, {"push": [old, new]}),
            make.attempt("failed", n, old, 1, at=1, reason="unregistered"),
        )
    )
    (channel,) = (await explain(n)).channels
    assert channel.status == "planned"
    await writer.write(make.batch(make.attempt("sent", n, new, 1, at=2)))
    (channel,) = (await explain(n)).channels
    assert channel.status == "sent"
    assert len(channel.deliveries) == 2


async def test_what_was_not_decided_yet_says_what_it_waits_for(explain, writer, make):
    n = make.id()
    postponed = event_pb2.Postponed()
    postponed.due_time.FromDatetime(make.START + timedelta(days=2))
    await writer.write(make.batch(make.event("scheduled", n, postponed=postponed)))
    told = await explain(n)
    assert told.summary == "scheduled: not decided before 2026-11-24T12:00:00Z"
    await writer.write(make.batch(make.event("cancelled", n, at=1)))
    told = await explain(n)
    assert told.summary == "cancelled: before anything was decided"
    assert [entry.event for entry in told.timeline] == ["scheduled", "cancelled"]


async def test_a_broadcast_says_how_many_it_reached_whatever_comes_first(
    explain, writer, make
):
    n = make.id()
    first = event_pb2.Spread(topic="news", subscribers=1000)
    first.notification.title = "Hello"
    last = event_pb2.Spread(topic="news", subscribers=1234, is_complete=True)
    await writer.write(make.batch(make.event("spread", n, at=1, spread=last, part="b")))
    await writer.write(make.batch(make.event("spread", n, spread=first, part="a")))
    told = await explain(n)
    assert (told.status, told.request.title) == ("spread", "Hello")
    assert told.broadcast == pb2.BroadcastRecord(
        topic="news", subscribers=1234, is_complete=True
    )
    assert told.summary == (
        "spread: 1234 subscribers of news have notifications of their own"
    )


async def test_only_what_is_the_tenants_own_is_explained(explain, writer, make):
    n = make.id()
    await writer.write(make.batch(decided(make, n, {"push": [make.delivery(n)]})))
    for id, key in ((n, "other-key"), (make.id(), "")):
        with refused() as refusal:
            await explain(id, key)
        assert refusal.code is grpc.StatusCode.NOT_FOUND
