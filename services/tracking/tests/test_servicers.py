from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import pytest_asyncio

from clarion.api.tracking.v1 import analytics_service_pb2 as analytics_pb2
from clarion.api.tracking.v1 import analytics_service_pb2_grpc as analytics_grpc
from clarion.api.tracking.v1 import audit_service_pb2 as audit_pb2
from clarion.api.tracking.v1 import audit_service_pb2_grpc as audit_grpc
from clarion.api.tracking.v1 import tracking_service_pb2 as pb2
from clarion.api.tracking.v1 import tracking_service_pb2_grpc as tracking_grpc
from clarion.runtime.clock import SystemClock
from clarion.runtime.testing import refused, serve, wait_until
from clarion.tracking.analytics_servicer import AnalyticsServicer
from clarion.tracking.arrivals import Arrivals
from clarion.tracking.tracking_servicer import TrackingServicer
from clarion.tracking.writer import Writer

pytestmark = pytest.mark.integration

OTHER_KEY = "key-of-another-tenant"


@pytest_asyncio.fixture
async def server(repository, arrivals, clock):
    tracking = TrackingServicer(repository, arrivals, SystemClock())
    async with serve(
        (tracking_grpc.add_TrackingServiceServicer_to_server, tracking),
        (
            analytics_grpc.add_AnalyticsServiceServicer_to_server,
            AnalyticsServicer(repository, clock),
        ),
        (
            audit_grpc.add_AuditServiceServicer_to_server,
            audit_grpc.AuditServiceServicer(),
        ),
        keys=[(OTHER_KEY, "other", ["*"])],
    ) as harness:
        yield harness


@pytest.fixture
def tracking(server):
    return tracking_grpc.TrackingServiceStub(server.channel())


@pytest.fixture
def analytics(server):
    return analytics_grpc.AnalyticsServiceStub(server.channel())


def get(id):
    return pb2.GetNotificationRequest(notification_id=id)


async def test_a_chain_is_shown_with_what_each_step_decided(tracking, writer, make):
    n = make.id()
    push, sms = make.delivery(n), make.delivery(n, "sms")
    standby = ("standby", "first_available")
    first = make.decided(n, {"push": [push], "sms": standby, "email": standby})
    second = make.decided(n, {"sms": [sms], "email": standby}, at=3)
    second.event_id = make.id()
    for decided in (first, second):
        decided.decided.decision.strategy = "first_available"

    async def shown():
        return (await tracking.GetNotification(get(n))).notification

    def states(record):
        return {one.channel: (one.status, one.reason) for one in record.deliveries}

    await writer.write(make.batch(first, make.attempt("failed", n, push, 1, at=1)))
    record = await shown()
    assert record.status == "processing"
    assert states(record)["sms"] == ("standby", "first_available")
    await writer.write(make.batch(make.attempt("sent", n, sms, 1, at=4, channel="sms")))
    await writer.write(make.batch(second))
    record = await shown()
    assert record.status == "sent"
    assert [one.channel for one in record.deliveries] == ["email", "push", "sms"]
    assert states(record)["email"] == ("standby", "first_available")
    assert {c.channel: c.outcome for c in record.decision.channels} == {
        "push": "planned",
        "sms": "planned",
        "email": "standby",
    }


async def test_a_notification_is_shown_with_all_that_happened(tracking, writer, make):
    n = make.id()
    push = make.delivery(n)
    await writer.write(
        make.batch(
            make.decided(n, {"push": [push], "sms": ("skipped", "no_address")}),
            make.attempt("retrying", n, push, 1, at=1, reason="timeout"),
            make.attempt("sent", n, push, 2, at=2),
        )
    )
    record = (await tracking.GetNotification(get(n))).notification
    assert record.notification_id == n
    assert (record.user_id, record.type) == ("ada", "order_confirmation")
    assert (record.category, record.priority) == ("order_updates", "high")
    assert record.status == "sent"
    assert record.accepted_time.ToDatetime(UTC) == make.START
    assert not record.HasField("due_time")
    assert record.request.title == "Your order"
    assert [c.channel for c in record.decision.channels] == ["push", "sms"]
    assert [e.event for e in record.timeline] == ["decided", "retrying", "sent"]
    one, two = record.deliveries
    assert (one.channel, one.delivery_id, one.status) == ("push", push, "sent")
    assert (two.channel, two.delivery_id, two.reason) == ("sms", "", "no_address")
    assert [(a.attempt, a.outcome) for a in one.attempts] == [
        (1, "retrying"),
        (2, "sent"),
    ]
    latency = one.attempts[0].provider_latency.ToTimedelta()
    assert latency == timedelta(milliseconds=20)


async def test_a_notification_without_its_decision_is_shown_as_far_as_known(
    tracking, writer, make
):
    n = make.id()
    await writer.write(make.batch(make.attempt("sent", n, make.delivery(n), 1)))
    record = (await tracking.GetNotification(get(n))).notification
    assert record.status == "sent"
    assert not record.HasField("accepted_time")


async def test_a_scheduled_notification_says_when_it_is_due(tracking, writer, make):
    n = make.id()
    event = make.event("scheduled", n)
    event.postponed.due_time.FromDatetime(make.START + timedelta(days=3))
    event.postponed.notification.title = "Later"
    await writer.write(make.batch(event))
    record = (await tracking.GetNotification(get(n))).notification
    assert record.status == "scheduled"
    assert record.due_time.ToDatetime(UTC) == make.START + timedelta(days=3)
    assert record.request.title == "Later"


async def test_a_rescheduled_notification_is_due_when_it_was_told_last(
    tracking, writer, make
):
    n = make.id()
    events = []
    for at, days in ((0, 3), (1, 1)):
        event = make.event("scheduled", n, at=at, part=str(at))
        event.postponed.due_time.FromDatetime(make.START + timedelta(days=days))
        events.append(event)
    await writer.write(make.batch(*events))
    record = (await tracking.GetNotification(get(n))).notification
    assert record.due_time.ToDatetime(UTC) == make.START + timedelta(days=1)


async def test_another_tenant_does_not_find_it(server, writer, make):
    n = make.id()
    await writer.write(make.batch(make.decided(n, {"push": [make.delivery(n)]})))
    other = tracking_grpc.TrackingServiceStub(server.channel(OTHER_KEY))
    with refused() as refusal:
        await other.GetNotification(get(n))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert refusal.metadata == {"resource": "notification", "id": n}
    assert not (
        await other.ListNotifications(pb2.ListNotificationsRequest())
    ).notifications
    counted = await other.GetReconciliation(span(make))
    assert counted.planned == 0


async def test_an_unknown_id_is_not_found_at_once(tracking, make):
    async with asyncio.timeout(1):
        with refused() as refusal:
            await tracking.GetNotification(get(make.id()))
    assert refusal.reason == "NOT_FOUND"


async def test_an_id_that_is_none_is_refused_by_field(tracking):
    with refused() as refusal:
        await tracking.GetNotification(get("nonsense"))
    assert "notification_id" in refusal.fields


async def test_a_new_id_is_waited_for(tracking, writer, arrivals, make):
    n = make.id(datetime.now(UTC))
    asked = asyncio.ensure_future(tracking.GetNotification(get(n)))
    await wait_until(lambda: arrivals._waiting)
    await writer.write(make.batch(make.decided(n, {"push": []})))
    assert (await asked).notification.notification_id == n
    assert not arrivals._waiting


async def test_a_new_id_that_another_process_stored_is_found(
    tracking, arrivals, pool, make
):
    n = make.id(datetime.now(UTC))
    asked = asyncio.ensure_future(tracking.GetNotification(get(n)))
    await wait_until(lambda: arrivals._waiting)
    await Writer(pool, Arrivals()).write(make.batch(make.decided(n, {"push": []})))
    assert (await asked).notification.notification_id == n


async def test_a_new_id_that_never_comes_is_not_found_after_two_seconds(tracking, make):
    loop = asyncio.get_running_loop()
    began = loop.time()
    with refused() as refusal:
        await tracking.GetNotification(get(make.id(datetime.now(UTC))))
    assert refusal.reason == "NOT_FOUND"
    assert 1.9 < loop.time() - began < 4


@pytest_asyncio.fixture
async def listed(writer, make):
    """Five notifications, the newest first: every second one failed."""
    ids = []
    for number in range(5):
        n = make.id()
        event = make.decided(n, {"push": [make.delivery(n)]})
        event.decided.accepted_time.FromDatetime(make.START - timedelta(minutes=number))
        kind = "failed" if number % 2 else "sent"
        done = make.attempt(kind, n, make.delivery(n), 1)
        event.user_id = done.user_id = f"user-{number % 2}"
        await writer.write(make.batch(event, done))
        ids.append(n)
    return ids


async def pages(tracking, **asked):
    token, found = "", []
    while True:
        request = pb2.ListNotificationsRequest(page_size=2, page_token=token, **asked)
        page = await tracking.ListNotifications(request)
        found += [record.notification_id for record in page.notifications]
        token = page.next_page_token
        if not token:
            return found


async def test_a_list_goes_on_page_by_page_from_the_newest(tracking, listed):
    assert await pages(tracking) == listed


async def test_a_list_is_filtered(tracking, listed):
    assert await pages(tracking, user_id="user-1") == listed[1::2]
    assert await pages(tracking, status="failed") == listed[1::2]
    assert await pages(tracking, type="order_confirmation") == listed
    assert await pages(tracking, type="other") == []


async def test_a_listed_record_has_deliveries_and_no_timeline(tracking, listed):
    page = await tracking.ListNotifications(pb2.ListNotificationsRequest(page_size=1))
    (record,) = page.notifications
    assert [a.outcome for a in record.deliveries[0].attempts] == ["sent"]
    assert not record.timeline
    assert not record.HasField("request")


async def test_a_page_token_of_another_filter_is_refused(tracking, listed):
    page = await tracking.ListNotifications(pb2.ListNotificationsRequest(page_size=1))
    with refused() as refusal:
        await tracking.ListNotifications(
            pb2.ListNotificationsRequest(
                page_token=page.next_page_token, status="failed"
            )
        )
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_an_unknown_status_is_refused_by_field(tracking):
    with refused() as refusal:
        await tracking.ListNotifications(pb2.ListNotificationsRequest(status="odd"))
    assert "partially_failed" in refusal.fields["status"]


def span(make):
    request = pb2.GetReconciliationRequest()
    request.start_time.FromDatetime(make.START - timedelta(hours=1))
    request.end_time.FromDatetime(make.START + timedelta(hours=1))
    return request


async def test_what_was_planned_has_ended_or_waits(tracking, writer, make):
    waiting = []
    for number, kind in enumerate(["sent", "failed", "retrying", "", "unknown"]):
        n = make.id()
        push = make.delivery(n)
        events = [
            make.decided(n, {"push": [push], "sms": ("skipped", "off")}, at=number)
        ]
        if kind:
            events.append(make.attempt(kind, n, push, 1, at=number))
        if kind in ("retrying", "", "unknown"):
            waiting.append(push)
        await writer.write(make.batch(*events))
    found = await tracking.GetReconciliation(span(make))
    assert (found.notifications, found.planned, found.waiting) == (5, 5, 3)
    assert dict(found.statuses) == {
        "sent": 1,
        "failed": 1,
        "retrying": 1,
        "planned": 1,
        "unknown": 1,
    }
    assert [d.delivery_id for d in found.oldest_waiting] == waiting


async def test_a_span_that_ends_before_it_begins_is_refused(tracking, make):
    request = span(make)
    request.start_time.FromDatetime(make.START + timedelta(hours=2))
    with refused() as refusal:
        await tracking.GetReconciliation(request)
    assert "start_time" in refusal.fields


def ask(**asked):
    return analytics_pb2.GetNotificationAnalyticsRequest(**asked)


@pytest_asyncio.fixture
async def counted(writer, make):
    for number in range(3):
        n = make.id()
        push, mail = make.delivery(n), make.delivery(n, "email")
        await writer.write(
            make.batch(
                make.decided(
                    n,
                    {
                        "push": [push],
                        "email": [mail],
                        "sms": ("rate_limited", "daily"),
                        "in_app": ("suppressed", "stop"),
                    },
                    at=-number,
                    category=f"category-{number}",
                ),
                make.attempt("sent", n, push, 1, at=-number),
                make.attempt("failed", n, mail, 1, at=-number, channel="email"),
                make.event("opened", n, at=-1, channel="push", delivery=push),
            )
        )


async def test_analytics_are_broken_down(analytics, counted):
    everything = "accepted,planned,sent,delivered,opened,failed,skipped,rate_limited"
    found = await analytics.GetNotificationAnalytics(
        ask(metrics=everything, breakdown="channel")
    )
    assert dict(found.totals) == {
        "accepted": 3,
        "planned": 6,
        "sent": 3,
        "delivered": 0,
        "opened": 3,
        "failed": 3,
        "skipped": 3,
        "rate_limited": 3,
    }
    assert set(found.breakdown) == {"push", "email", "sms", "in_app"}
    assert found.breakdown["push"].values["sent"] == 3
    assert found.breakdown["push"].values["failed"] == 0
    assert found.breakdown["email"].values["failed"] == 3


@pytest.mark.parametrize(
    ("breakdown", "keys"),
    [
        ("type", {"order_confirmation"}),
        ("category", {f"category-{number}" for number in range(3)}),
        ("day", {"2026-11-22"}),
        ("none", set()),
    ],
)
@pytest.mark.parametrize("period", ["last_hour", "last_24_hours", "last_90_days"])
async def test_analytics_have_every_breakdown_and_period(
    analytics, counted, breakdown, keys, period
):
    found = await analytics.GetNotificationAnalytics(
        ask(breakdown=breakdown, period=period)
    )
    assert set(found.breakdown) == keys
    assert found.totals["sent"] == 3
    assert found.period == period


async def test_an_unknown_metric_is_refused_by_field(analytics):
    with refused() as refusal:
        await analytics.GetNotificationAnalytics(ask(metrics="sent,bounced"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "rate_limited" in refusal.fields["metrics"]


async def test_the_audit_is_not_served_yet(server):
    stub = audit_grpc.AuditServiceStub(server.channel())
    with refused() as refusal:
        await stub.ListAuditEntries(audit_pb2.ListAuditEntriesRequest())
    assert refusal.code is grpc.StatusCode.UNIMPLEMENTED
