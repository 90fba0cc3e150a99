from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from clarion.api.router.v1.notification_service_pb2 import SendNotificationRequest
from clarion.api.router.v1.notification_type_service_pb2 import (
    Digest,
    GetNotificationTypeRequest,
    ListNotificationTypesRequest,
    NotificationType,
    PutNotificationTypeRequest,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceStub,
)
from clarion.client.embedded.servers import PostgresServer
from clarion.router.digests.windows import DigestPolicy
from clarion.router.notification_types import BUILT_IN, TypePolicy, policy_for
from clarion.router.registry import table as tables
from clarion.router.registry.definitions import (
    built_in,
    completed,
    objections,
    policy_of,
)
from clarion.router.registry.live import LiveTypes
from clarion.router.registry.registering import Registry
from clarion.router.registry.table import (
    InMemoryTypeTable,
    PostgresTypeTable,
    TypeTable,
)
from clarion.runtime.errors import (
    NotFoundError,
    PreconditionError,
    UnavailableError,
)
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import wait_until

CHANNELS = ("push", "email", "sms", "in_app")
DAY, HOUR = Duration(seconds=86_400), Duration(seconds=3600)


@pytest.mark.parametrize("type_", [*BUILT_IN, "comment", "A.b:c-d"])
def test_a_type_that_nobody_describes_has_the_policy_that_it_always_had(
    type_: str,
) -> None:
    assert policy_of(built_in(type_)) == policy_for(type_)


def test_what_is_left_open_is_filled_in_and_the_rest_is_kept() -> None:
    given = NotificationType(
        channels=["sms"],
        critical=True,
        time_to_live=Duration(seconds=90),
        quiet_hours_policy="skip",
        over_limit_policy="defer",
        template_id="plain",
        channel_templates={"email": "rich"},
    )
    assert policy_of(completed("newsletter", given)) == TypePolicy(
        category="promotional",
        channels=("sms",),
        priority="medium",
        critical=True,
        time_to_live=timedelta(seconds=90),
        quiet_hours_policy="skip",
        over_limit_policy="defer",
        template_id="plain",
        channel_templates={"email": "rich"},
    )
    full = completed("newsletter", NotificationType(category="news", priority="low"))
    assert (full.category, full.priority, full.strategy) == ("news", "low", "all")


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({}, None),
        ({"digest_window": HOUR}, DigestPolicy(window=timedelta(hours=1))),
        ({"digest": Digest(window=HOUR)}, DigestPolicy(window=timedelta(hours=1))),
        (
            {"digest": Digest(mode="sliding", window=HOUR, template_id="many")},
            DigestPolicy(
                mode="sliding",
                window=timedelta(hours=1),
                longest=timedelta(hours=10),
                template_id="many",
            ),
        ),
        (
            {"digest": Digest(mode="cron", cron="0 9 * * *", time_zone="UTC")},
            DigestPolicy(mode="cron", cron="0 9 * * *", time_zone="UTC"),
        ),
    ],
)
def test_a_digest_becomes_a_policy_and_what_is_read_can_be_put_again(
    fields: dict[str, Any], policy: DigestPolicy | None
) -> None:
    full = completed("n", NotificationType(**fields))
    assert policy_of(full).digest == policy
    assert not objections("n", full, CHANNELS)
    assert completed("n", full) == full


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, None),
        ({"type": "n"}, None),
        ({"type": "other"}, "type"),
        ({"channels": ["push", "fax"]}, "channels[1]"),
        ({"channels": ["push", "sms", "push"]}, "channels[2]"),
        ({"priority": "urgent"}, "priority"),
        ({"time_to_live": Duration(seconds=1)}, None),
        ({"time_to_live": Duration()}, "time_to_live"),
        ({"time_to_live": Duration(seconds=-5)}, "time_to_live"),
        ({"time_to_live": Duration(seconds=10**9)}, "time_to_live"),
        ({"template_id": "a b"}, "template_id"),
        ({"channel_templates": {"fax": "a"}}, 'channel_templates["fax"]'),
        ({"channel_templates": {"sms": "a b"}}, 'channel_templates["sms"]'),
        ({"strategy": "all"}, None),
        ({"strategy": "escalate"}, None),
        ({"strategy": "escalate", "channels": ["push"]}, "channels"),
        ({"strategy": "first_available", "channels": ["push"]}, None),
        ({"escalate_after": Duration(seconds=1)}, None),
        ({"escalate_after": Duration(seconds=30 * 86_400)}, None),
        ({"escalate_after": Duration(nanos=999_999_999)}, "escalate_after"),
        ({"escalate_after": Duration(seconds=30 * 86_400, nanos=1)}, "escalate_after"),
        ({"over_limit_policy": "digest"}, None),
        ({"digest_window": Duration(seconds=1)}, None),
        ({"digest_window": Duration(nanos=999_999_999)}, "digest_window"),
        ({"digest_window": DAY, "digest": Digest(window=DAY)}, "digest_window"),
        ({"digest": Digest(window=DAY)}, None),
        ({"digest": Digest()}, "digest.window"),
        ({"digest": Digest(window=Duration(seconds=40 * 86_400))}, "digest.window"),
        ({"digest": Digest(window=DAY, longest=DAY)}, "digest.longest"),
        ({"digest": Digest(window=DAY, cron="0 9 * * *")}, "digest.cron"),
        ({"digest": Digest(window=DAY, time_zone="UTC")}, "digest.time_zone"),
        ({"digest": Digest(window=DAY, template_id="a b")}, "digest.template_id"),
        ({"digest": Digest(mode="sliding", window=DAY)}, None),
        ({"digest": Digest(mode="sliding", window=DAY, longest=DAY)}, None),
        (
            {"digest": Digest(mode="sliding", window=DAY, longest=HOUR)},
            "digest.longest",
        ),
        ({"digest": Digest(mode="cron", cron="0 9 * * mon-fri")}, None),
        ({"digest": Digest(mode="cron", cron="0 9 * *")}, "digest.cron"),
        ({"digest": Digest(mode="cron", cron="0 9 30 2 *")}, "digest.cron"),
        (
            {"digest": Digest(mode="cron", cron="0 9 * * *", window=DAY)},
            "digest.window",
        ),
        (
            {"digest": Digest(mode="cron", cron="0 9 * * *", time_zone="Mars/Base")},
            "digest.time_zone",
        ),
        ({"ordered": True}, None),
        ({"limits": [{"span": HOUR, "most": 0}]}, None),
        ({"limits": [{"span": HOUR, "most": 1}, {"span": DAY}]}, "limits[1].most"),
    ],
)
def test_a_definition_that_cannot_be_honoured_is_refused_with_its_field(
    fields: dict[str, Any], field: str | None
) -> None:
    found = objections("n", NotificationType(**fields), CHANNELS)
    expected = [] if field is None else [f"notification_type.{field}"]
    assert [violation.field for violation in found] == expected


@pytest.fixture(params=["in memory", "postgres"])
async def table(
    request: pytest.FixtureRequest, postgres: Any
) -> AsyncIterator[TypeTable]:
    if request.param == "in memory":
        yield InMemoryTypeTable()
        return
    pool = await open_pool(postgres.url, "router")
    yield PostgresTypeTable(pool)
    await pool.close()


def registry_on(table: TypeTable) -> Registry:
    async def changed(tenant: str) -> None:
        pass

    return Registry(table, CHANNELS, changed)


def definition(type_: str, **fields: Any) -> NotificationType:
    return completed(type_, NotificationType(**fields))


async def test_a_table_keeps_the_last_of_each_type_and_tells_what_changed(
    table: TypeTable, request: pytest.FixtureRequest
) -> None:
    tenant = f"t-{abs(hash(request.node.name))}"
    start = max([c.revision for c in await table.changed(0, 10_000)], default=0)
    first, second = definition("b"), definition("a")
    await table.put(tenant, first)
    await table.put(tenant, second)
    assert await table.of_tenant(tenant) == [second, first]
    assert await table.of_tenant("other") == []
    before = await table.changed(start, 10)
    assert [(c.tenant, c.definition) for c in before] == [
        (tenant, first),
        (tenant, second),
    ]
    changed = definition("b", priority="high")
    await table.put(tenant, changed)
    (last,) = await table.changed(before[-1].revision, 10)
    assert last.definition == changed
    assert await table.of_tenant(tenant) == [second, changed]
    assert len(await table.changed(start, 1)) == 1


async def test_a_deleted_type_is_as_one_that_nobody_registered(
    table: TypeTable,
) -> None:
    live, registry = LiveTypes(table), registry_on(table)
    await registry.put("a", "n", NotificationType(category="c", critical=True))
    await registry.put("b", "n", NotificationType(category="c"))
    await live.look()
    assert live.policy("a", "n").critical
    assert await registry.delete("a", "n")
    assert not await registry.delete("a", "n")
    assert not await registry.delete("a", "never there")
    await live.look()
    assert live.policy("a", "n") == policy_for("n")
    assert live.policy("b", "n").category == "c"
    assert not await table.of_tenant("a")
    with pytest.raises(NotFoundError):
        await registry.get("a", "n")
    await registry.put("a", "n", NotificationType(category="again"))
    await live.look()
    assert live.policy("a", "n").category == "again"


async def test_a_tenant_has_so_many_types_and_no_more(
    table: TypeTable, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_TYPES", 2)
    tenant = f"t-{abs(hash(request.node.name))}"
    for type_ in ("a", "b", "a"):
        await table.put(tenant, definition(type_))
    with pytest.raises(PreconditionError):
        await table.put(tenant, definition("c"))


async def test_while_the_table_does_not_answer_what_was_read_last_holds() -> None:
    table = InMemoryTypeTable()
    types = LiveTypes(table)
    table.error = UnavailableError()
    await types.look()
    assert types.policy("demo", "newsletter") == policy_for("newsletter")
    table.error = None
    await table.put("demo", definition("newsletter", priority="low"))
    await types.read()
    assert types.policy("demo", "newsletter").priority == "low"
    assert types.policy("other", "newsletter").priority == "medium"
    table.error = UnavailableError()
    await table_is_looked_at(types)
    assert types.policy("demo", "newsletter").priority == "low"


async def table_is_looked_at(types: LiveTypes) -> None:
    with pytest.raises(UnavailableError):
        await types.read()


async def test_more_changes_than_a_page_are_all_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clarion.router.registry.live._PAGE", 2)
    table = InMemoryTypeTable()
    for number in range(5):
        await table.put("demo", definition(f"t{number}", priority="high"))
    types = LiveTypes(table)
    await types.look()
    found = {types.policy("demo", f"t{number}").priority for number in range(5)}
    assert found == {"high"}


async def test_a_hint_is_followed_at_once_and_without_one_it_takes_its_time() -> None:
    table = InMemoryTypeTable()
    types = LiveTypes(table, refresh=timedelta(hours=1))
    task = asyncio.create_task(types.run())
    await table.put("demo", definition("n", priority="low"))
    types.hint()
    await wait_until(lambda: types.policy("demo", "n").priority == "low")
    task.cancel()


def stub(running: Any, tenant: str = "") -> NotificationTypeServiceStub:
    channel = running.harness.internal(tenant or running.tenant)
    return NotificationTypeServiceStub(channel)


async def put(running: Any, type_: str, **fields: Any) -> NotificationType:
    request = PutNotificationTypeRequest(
        type=type_, notification_type=NotificationType(**fields)
    )
    answer = await stub(running).PutNotificationType(request)
    return answer.notification_type


async def send(running: Any, notification: Any) -> str:
    request = SendNotificationRequest(notification=notification)
    answer = await running.stub.SendNotification(request, timeout=20)
    return str(answer.notification_id)


async def test_a_type_is_put_found_and_listed_with_the_built_in_ones(
    router: Any,
) -> None:
    stored = await put(router, "welcome", channels=["email"], template_id="hello")
    assert (stored.type, stored.category, stored.priority) == (
        "welcome",
        "welcome",
        "medium",
    )
    get = GetNotificationTypeRequest(type="welcome")
    assert (await stub(router).GetNotificationType(get)).notification_type == stored
    own = await put(router, "newsletter", category="news")
    listed: list[Any] = []
    request = ListNotificationTypesRequest(page_size=5)
    while not listed or request.page_token:
        page = await stub(router).ListNotificationTypes(request)
        assert len(page.notification_types) <= 5
        listed += page.notification_types
        request.page_token = page.next_page_token
    assert [t.type for t in listed] == sorted([*BUILT_IN, "welcome"])
    assert own in listed
    assert stored in listed
    # Another tenant has the built-in one.
    get = GetNotificationTypeRequest(type="newsletter")
    other = await stub(router, "other").GetNotificationType(get)
    assert other.notification_type.category == "promotional"


async def test_what_is_not_there_or_not_right_is_said(router: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub(router).GetNotificationType(GetNotificationTypeRequest(type="no"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await put(router, "n", channels=["fax"])
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_router_honours_a_change_within_a_second(
    start: Any, notify: Any, router: Any
) -> None:
    async with start() as second:
        second.tenant = router.tenant
        for priority in ("low", "high", "medium"):
            began = perf_counter()
            await put(router, "digest", channels=["email"], priority=priority)
            lane = f"work.email.{priority}"
            await wait_until(lambda since=began: perf_counter() > since + 1)
            await send(second, notify(type="digest", title=priority))
            await send(router, notify(type="digest", title=priority))

            async def arrived(subject: str = lane) -> Any:
                found = await router.jobs(subject)
                return [job for job in found if job.content.title == job.priority]

            await router.until(arrived, 2, 5)


async def test_a_type_with_a_template_needs_no_words(
    router: Any, notify: Any, neighbours: Any
) -> None:
    await put(
        router,
        "welcome",
        channels=["email", "sms", "in_app"],
        template_id="hello",
        channel_templates={"email": "hello-mail"},
    )
    await send(router, notify(type="welcome", title=""))
    (mail,) = await router.until(lambda: router.jobs("work.email.>"), 1, 5)
    (text,) = await router.until(lambda: router.jobs("work.sms.>"), 1, 5)
    assert mail.content.template_id == "hello-mail"
    assert text.content.template_id == "hello"


async def test_sending_goes_on_while_postgres_is_down_with_what_was_read(
    start: Any, notify: Any, tmp_path: Path
) -> None:
    async with PostgresServer(tmp_path / "postgres") as own:
        await asyncio.to_thread(migrate, own.url, "router", migrations_of("router"))
        async with start(postgres_url=own.url) as router:
            await put(router, "digest", channels=["email"], priority="low")
            await own.stop()
            await send(router, notify(type="digest"))
            await router.until(lambda: router.jobs("work.email.low"), 1, 5)
            await router.service.health.look()
            assert router.harness.health.serving
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await put(router, "digest", channels=["sms"])
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            await own.start()
            await put_when_it_answers(router)


async def put_when_it_answers(router: Any) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await put(router, "digest", channels=["sms"])
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.2)


async def test_a_router_that_starts_without_postgres_has_the_built_in_types(
    start: Any, notify: Any
) -> None:
    nobody = "postgresql://nobody@127.0.0.1:1/none"
    async with start(postgres_url=nobody) as router:
        await send(router, notify(type="newsletter"))
        (job, *_) = await router.until(router.jobs, 2, 5)
        assert job.category == "promotional"
