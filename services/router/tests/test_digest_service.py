"""Digests in the whole service, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_CANCELLED,
    EVENT_KIND_DECIDED,
    EVENT_KIND_DIGESTED,
)
from clarion.api.event.v1.work_pb2 import DigestChunk, DigestClose, DigestStep
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.router.v1.notification_service_pb2 import (
    BatchSendNotificationsRequest,
    CancelNotificationRequest,
    ExplainNotificationRequest,
)
from clarion.api.router.v1.notification_type_service_pb2 import (
    PutNotificationTypeRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)
from clarion.client.embedded.servers import PostgresServer
from clarion.router.digests.folding import digest_id
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.streams import durable_name, stream_of, work_subject

pytestmark = pytest.mark.integration


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[Any]:
    """A Postgres that a test may stop."""
    async with PostgresServer(tmp_path / "postgres") as server:
        await asyncio.to_thread(migrate, server.url, "router", migrations_of("router"))
        yield server


async def put_type(running: Any, type_: str, **fields: Any) -> None:
    request = PutNotificationTypeRequest(type=type_)
    window = fields.pop("window", None)
    for name, value in fields.items():
        setattr(request.notification_type, name, value)
    if window is not None:
        request.notification_type.digest.window.FromTimedelta(window)
    channel = running.harness.internal(running.tenant)
    await NotificationTypeServiceStub(channel).PutNotificationType(request)


async def send(running: Any, *notifications: Any) -> list[str]:
    request = BatchSendNotificationsRequest(notifications=notifications)
    answer = await running.stub.BatchSendNotifications(request, timeout=20)
    return [result.notification.notification_id for result in answer.results]


async def told(running: Any, kind: int, count: int = 1, within: float = 8) -> list[Any]:
    async def found() -> list[Any]:
        events = {event.event_id: event for event in await running.events()}
        return [event for event in events.values() if event.kind == kind]

    events: list[Any] = await running.until(found, count, within)
    return events


def held_by(job: Any) -> list[str]:
    return [item["notification_id"] for item in job.content.data["items"]]


async def test_what_two_routers_get_at_once_becomes_one_message_with_all_of_it(
    router: Any, start: Any, notify: Any, neighbours: Any
) -> None:
    await put_type(router, "like", window=timedelta(seconds=2))
    async with start() as second:
        second.tenant = router.tenant
        sent = [
            await send(one, *(notify(type="like", title=f"{n}") for n in range(5)))
            for one in (router, second)
            for _ in range(4)
        ]
        ids = {id for batch in sent for id in batch}
        events = await told(router, EVENT_KIND_DIGESTED, 40)
        (digest,) = {event.digested.digest_notification_id for event in events}
        assert {event.notification_id for event in events} == ids
        (inbox,) = await router.until(lambda: router.jobs("work.in_app.>"), 1, 8)
    assert inbox.notification_id == digest
    assert set(held_by(inbox)) == ids
    assert len(held_by(inbox)) == 40
    assert inbox.content.title == "40 × like"
    pushes = await router.jobs()
    assert {job.notification_id for job in pushes} == {digest}
    assert pushes[0].content.data["count"] == 40
    # One permit for the message, none for what is in it.
    assert digest in neighbours.permits
    assert ids.isdisjoint(neighbours.permits)
    decided = await told(router, EVENT_KIND_DECIDED, 41)
    outcomes = [e.decided.decision.channels[0].outcome for e in decided]
    assert (outcomes.count("digested"), outcomes.count("planned")) == (40, 1)


async def test_one_alone_comes_as_it_is_and_a_timer_that_comes_again_sends_nothing(
    router: Any, notify: Any, postgres: Any
) -> None:
    await put_type(router, "like", window=timedelta(seconds=1))
    (id,) = await send(router, notify(type="like", channels=["email"], data={"n": 1}))
    (event,) = await told(router, EVENT_KIND_DIGESTED)
    (job,) = await router.until(lambda: router.jobs("work.email.>"), 1, 8)
    assert event.notification_id == id
    assert job.notification_id == event.digested.digest_notification_id
    assert (job.content.title, job.content.data["n"]) == ("Hello", 1)
    ((window_id, _),) = await windows_of(postgres, router.tenant)
    await fire(router, window_id)
    assert await windows_of(postgres, router.tenant) == [(window_id, 2)]
    assert len(await told(router, EVENT_KIND_DECIDED, 2)) == 2
    assert len(await router.jobs("work.email.>")) == 1


async def test_a_digest_waits_for_quiet_hours_and_its_items_do_not(
    router: Any, notify: Any, neighbours: Any, person: Any
) -> None:
    await put_type(router, "like", window=timedelta(seconds=1))
    now = datetime.now(UTC)
    hours = QuietHours(
        start=(now - timedelta(hours=1)).strftime("%H:%M"),
        end=(now + timedelta(hours=1)).strftime("%H:%M"),
        timezone="UTC",
    )
    neighbours.people["ada"] = person(quiet_hours=hours)
    request = [notify(type="like", channels=["push", "in_app"]) for _ in range(2)]
    await send(router, *request)
    (inbox,) = await router.until(lambda: router.jobs("work.in_app.>"), 1, 8)
    assert len(held_by(inbox)) == 2
    decided = await told(router, EVENT_KIND_DECIDED, 3)
    (own,) = [e for e in decided if e.notification_id == inbox.notification_id]
    outcomes = {c.channel: c.outcome for c in own.decided.decision.channels}
    assert outcomes == {"push": "deferred", "in_app": "planned"}


async def test_a_cancelled_one_is_taken_out_and_alone_leaves_nothing_to_send(
    router: Any, notify: Any, neighbours: Any, person: Any
) -> None:
    neighbours.people["bob"] = person("bob")
    await put_type(router, "like", window=timedelta(seconds=2))
    gone, kept, other = await send(
        router,
        notify(type="like", title="gone"),
        notify(type="like", title="kept"),
        notify(type="like", title="gone too", user_id="bob"),
    )
    await told(router, EVENT_KIND_DIGESTED, 3)
    for id in (gone, other):
        request = CancelNotificationRequest(notification_id=id)
        for _ in range(2):
            answer = await router.stub.CancelNotification(request)
            assert answer.status == "cancelled"
    (inbox,) = await router.until(lambda: router.jobs("work.in_app.>"), 1, 8)
    assert (inbox.user_id, inbox.content.title) == ("ada", "kept")
    events = await told(router, EVENT_KIND_CANCELLED, 2)
    assert {event.notification_id for event in events} == {gone, other}
    request = CancelNotificationRequest(notification_id=kept)
    assert (await router.stub.CancelNotification(request)).status == "cancelling"
    decided = await told(router, EVENT_KIND_DECIDED, 4)
    assert len(decided) == 4  # three and one digest, none for bob


async def test_over_a_limit_the_rest_comes_as_one_when_there_is_room(
    router: Any, notify: Any, neighbours: Any
) -> None:
    await put_type(router, "like", over_limit_policy="digest")
    (first,) = await send(router, notify(type="like"))
    (plain,) = await router.until(lambda: router.jobs("work.in_app.>"), 1, 8)
    assert plain.notification_id == first
    neighbours.limited["like"] = "daily"
    neighbours.available = datetime.now(UTC) + timedelta(seconds=2)
    rest = await send(router, *(notify(type="like", title=f"{n}") for n in range(4)))
    events = await told(router, EVENT_KIND_DIGESTED, 4)
    assert {event.notification_id for event in events} == set(rest)
    free = neighbours.available
    neighbours.limited.clear()
    _, digest = await router.until(lambda: router.jobs("work.in_app.>"), 2, 8)
    assert datetime.now(UTC) >= free
    assert sorted(held_by(digest)) == sorted(rest)
    assert {first, digest.notification_id} <= set(neighbours.permits)
    assert not set(rest) & set(neighbours.permits)


async def test_a_dry_run_says_digested_and_until_when(router: Any, notify: Any) -> None:
    await put_type(router, "like", window=timedelta(hours=1))
    request = ExplainNotificationRequest(notification=notify(type="like"))
    before = datetime.now(UTC)
    decision = (await router.stub.ExplainNotification(request)).decision
    assert {channel.outcome for channel in decision.channels} == {"digested"}
    closes = decision.channels[0].release_time.ToDatetime(UTC)
    assert before + timedelta(hours=1) <= closes
    assert closes <= datetime.now(UTC) + timedelta(hours=1)
    assert [rule.rule for rule in decision.rules].count("digest") == 2
    assert not await router.events()


async def test_while_postgres_is_down_only_digests_wait(
    start: Any, notify: Any, own_postgres: Any, own_nats: Any
) -> None:
    async with start(postgres_url=own_postgres.url, nats_url=own_nats.url) as running:
        await put_type(running, "like", window=timedelta(seconds=1))
        await own_postgres.stop()
        liked = await send(
            running, *(notify(type="like", title=f"{n}") for n in range(6))
        )
        plain = await send(running, *(notify() for _ in range(20)))
        jobs = await running.until(lambda: running.jobs("work.in_app.>"), 20, 8)
        assert {job.notification_id for job in jobs} == set(plain)
        # A cancel does not wait for it either, and is honoured.
        request = CancelNotificationRequest(notification_id=liked[0])
        answer = await running.stub.CancelNotification(request, timeout=5)
        assert answer.status == "cancelling"
        await own_postgres.start()
        events = await told(running, EVENT_KIND_DIGESTED, 6, within=30)
        assert {event.notification_id for event in events} == set(liked)
        await running.until(lambda: running.jobs("work.in_app.>"), 21, 15)
        digests = {
            job.notification_id: job
            for job in await running.jobs("work.in_app.>")
            if job.type == "like"
        }
        told_of = [id for job in digests.values() for id in held_by(job)]
        assert sorted(told_of) == sorted(liked[1:])
        assert set(digests) == {
            event.digested.digest_notification_id for event in events
        }


async def test_what_a_router_collected_is_sent_by_the_next_one(
    start: Any, notify: Any, own_nats: Any, postgres: Any
) -> None:
    async with start(nats_url=own_nats.url) as first:
        await put_type(first, "like", window=timedelta(seconds=2))
        ids = await send(first, *(notify(type="like", title=f"{n}") for n in range(5)))
        await told(first, EVENT_KIND_DIGESTED, 5)
    await own_nats.kill()  # nobody is there when it is due
    await own_nats.start()
    async with start(nats_url=own_nats.url) as second:
        second.tenant = first.tenant
        (inbox,) = await second.until(lambda: second.jobs("work.in_app.>"), 1, 10)
        assert sorted(held_by(inbox)) == sorted(ids)
        # Fired again, and late: it was sent.
        ((window_id, state),) = await windows_of(postgres, first.tenant)
        assert (digest_id(window_id), state) == (inbox.notification_id, 2)
        await fire(second, window_id)
        assert len(await second.jobs("work.in_app.>")) == 1
        (event,) = [
            event
            for event in await told(second, EVENT_KIND_DECIDED, 6)
            if event.notification_id == inbox.notification_id
        ]
        assert event.decided.decision.channels[0].outcome == "planned"


async def windows_of(postgres: Any, tenant: str) -> list[tuple[str, int]]:
    pool = await open_pool(postgres.url, "router")
    async with pool.connection() as connection:
        found = await connection.execute(
            "SELECT window_id::text, state FROM digest_windows WHERE tenant_id = %s",
            (tenant,),
        )
        rows = await found.fetchall()
    await pool.close()
    return rows


async def fire(running: Any, window_id: str) -> None:
    close = DigestClose(tenant_id=running.tenant, window_id=window_id)
    await running.streams.publisher.publish(
        work_subject("digest", "medium"),
        DigestChunk(steps=[DigestStep(close=close)]).SerializeToString(),
        message_id=f"again {window_id}",
    )
    durable = durable_name("digest", "medium")

    async def is_handled() -> bool:
        info = await running.streams.js.request(
            f"CONSUMER.INFO.{stream_of('digest')}.{durable}", {}
        )
        return not info["num_pending"] and not info["num_ack_pending"]

    async with asyncio.timeout(10):
        while not await is_handled():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
