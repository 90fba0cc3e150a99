"""What a broadcast made for its subscribers: listed, filtered and counted."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import pytest_asyncio

from clarion.api.event.v1 import notification_event_pb2 as event_pb2
from clarion.api.tracking.v1 import tracking_service_pb2 as pb2
from clarion.api.tracking.v1 import tracking_service_pb2_grpc as tracking_grpc
from clarion.runtime.clock import SystemClock
from clarion.runtime.testing import refused, serve
from clarion.tracking.tracking_servicer import TrackingServicer

pytestmark = pytest.mark.integration

OTHER_KEY = "key-of-another-tenant"


@pytest_asyncio.fixture
async def server(repository, arrivals):
    servicer = TrackingServicer(repository, arrivals, SystemClock())
    async with serve(
        (tracking_grpc.add_TrackingServiceServicer_to_server, servicer),
        keys=[(OTHER_KEY, "other", ["*"])],
    ) as harness:
        yield harness


@pytest.fixture
def tracking(server):
    return tracking_grpc.TrackingServiceStub(server.channel())


@pytest.fixture
def told(make):
    """The id of a broadcast, and the events of so many members: every second sent."""

    def make_broadcast(count):
        broadcast = make.id()
        spread = event_pb2.Spread(topic="news", subscribers=count, is_complete=True)
        events = [make.event("spread", broadcast, spread=spread)]
        for number in range(count):
            n = make.id()
            push = make.delivery(n)
            events.append(make.decided(n, {"push": [push]}, broadcast=broadcast))
            if number % 2:
                events.append(make.attempt("sent", n, push, 1, at=1))
        return broadcast, events

    return make_broadcast


async def pages(tracking, between=None, **asked):
    token, found = "", []
    while True:
        request = pb2.ListNotificationsRequest(page_size=3, page_token=token, **asked)
        page = await tracking.ListNotifications(request)
        assert len(page.notifications) <= 3
        found += page.notifications
        token = page.next_page_token
        if not token:
            return found
        if between is not None:
            await between()


async def statuses(tracking, broadcast):
    request = pb2.GetNotificationRequest(notification_id=broadcast)
    record = (await tracking.GetNotification(request)).notification
    return dict(record.broadcast.statuses)


def members(events):
    return {e.notification_id for e in events if e.HasField("decided")}


async def test_the_notifications_of_a_broadcast_are_listed_once_each_and_alone(
    tracking, server, writer, make, told
):
    (one, events), (_, others) = told(10), told(3)
    alone = make.decided(make.id(), {"push": []})
    await writer.write(make.batch(*events, *others, alone))
    found = await pages(tracking, broadcast_id=one)
    assert Counter(r.notification_id for r in found) == Counter(members(events))
    assert {record.broadcast_id for record in found} == {one}
    assert len(await pages(tracking)) == 2 + 10 + 3 + 1
    stranger = tracking_grpc.TrackingServiceStub(server.channel(OTHER_KEY))
    assert await pages(stranger, broadcast_id=one) == []


async def test_a_broadcast_in_capitals_is_the_same_one(tracking, writer, make, told):
    one, events = told(2)
    await writer.write(make.batch(*events))
    assert len(await pages(tracking, broadcast_id=one.upper())) == 2


async def test_the_notifications_of_a_broadcast_are_filtered_by_state(
    tracking, writer, make, told
):
    one, events = told(11)
    await writer.write(make.batch(*events))
    for status, count in (("sent", 5), ("processing", 6), ("failed", 0)):
        found = await pages(tracking, broadcast_id=one, status=status)
        assert [record.status for record in found] == [status] * count
    assert await pages(tracking, broadcast_id=one, user_id="nobody") == []
    assert await pages(tracking, broadcast_id=make.id()) == []


async def test_what_is_there_is_listed_once_while_the_broadcast_grows(
    tracking, writer, make, told
):
    one, events = told(12)
    await writer.write(make.batch(*events))

    async def grow():
        n = make.id()
        late = make.decided(n, {"push": [make.delivery(n)]}, broadcast=one)
        # Those that were listed and those that were not change their state as well.
        first, *_ = members(events)
        sent = make.attempt("sent", first, make.delivery(first), 2, part=n)
        await writer.write(make.batch(late, sent))

    found = Counter(
        r.notification_id for r in await pages(tracking, grow, broadcast_id=one)
    )
    assert set(found.values()) == {1}
    assert members(events) <= set(found)


@pytest.mark.parametrize("seed", range(6))
async def test_states_are_counted_once_whatever_comes_late_twice_or_first(
    tracking, writer, make, told, seed
):
    one, events = told(9)
    for event in [e for e in events if e.HasField("decided")][:4]:
        n = event.notification_id
        about = {"channel": "push", "delivery": make.delivery(n)}
        events.append(make.event("read", n, at=9, **about))
    chance = random.Random(seed)
    events += chance.choices(events, k=12)
    chance.shuffle(events)
    while events:
        size = chance.randint(1, len(events))
        await writer.write(make.batch(*events[:size]))
        events = events[size:]
    listed = Counter(r.status for r in await pages(tracking, broadcast_id=one))
    assert await statuses(tracking, one) == listed
    assert listed == {"read": 4, "sent": 2, "processing": 3}


async def test_a_batch_that_is_written_again_after_its_writer_died_counts_once(
    tracking, pool, writer, make, told
):
    one, events = told(4)
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE broadcast_states RENAME TO hidden")
    with pytest.raises(Exception, match="broadcast_states"):
        await writer.write(make.batch(*events))
    assert await pages(tracking) == []
    async with pool.connection() as connection:
        await connection.execute("ALTER TABLE hidden RENAME TO broadcast_states")
    await writer.write(make.batch(*events))
    await writer.write(make.batch(*events))
    assert await statuses(tracking, one) == {"sent": 2, "processing": 2}


async def test_an_explanation_counts_the_states_of_a_broadcast_too(
    tracking, writer, make, told
):
    one, events = told(3)
    await writer.write(make.batch(*events))
    request = pb2.ExplainNotificationRequest(notification_id=one)
    answer = await tracking.ExplainNotification(request)
    assert dict(answer.broadcast.statuses) == {"sent": 1, "processing": 2}


async def test_a_page_token_of_another_broadcast_is_refused(
    tracking, writer, make, told
):
    one, events = told(2)
    await writer.write(make.batch(*events))
    page = await tracking.ListNotifications(
        pb2.ListNotificationsRequest(page_size=1, broadcast_id=one)
    )
    for other in ("", make.id()):
        with refused() as refusal:
            await tracking.ListNotifications(
                pb2.ListNotificationsRequest(
                    page_token=page.next_page_token, broadcast_id=other
                )
            )
        assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_a_broadcast_id_that_is_none_is_refused_by_field(tracking):
    with refused() as refusal:
        await tracking.ListNotifications(
            pb2.ListNotificationsRequest(broadcast_id="news")
        )
    assert "broadcast_id" in refusal.fields


async def test_a_decision_for_a_broadcast_that_cannot_be_is_put_aside(
    pool, writer, make
):
    good = make.decided(make.id(), {"push": []})
    bad = make.decided(make.id(), {"push": []}, broadcast="nonsense")
    await writer.write(make.batch(bad, good))
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT problem FROM rejected_events")
        ((problem,),) = await cursor.fetchall()
    assert "broadcast_id" in problem
