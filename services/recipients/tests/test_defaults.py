from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter
from typing import Any

import pytest

from clarion.api.recipients.v1.preference_service_pb2 import (
    GetDefaultPreferencesRequest,
    GetPreferencesRequest,
    PutDefaultPreferencesRequest,
    UpdatePreferencesRequest,
)
from clarion.api.recipients.v1.recipient_pb2 import (
    Preferences,
    QuietHours,
    Recipient,
)
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsRequest,
    PutRecipientRequest,
)
from clarion.api.router.v1.notification_type_service_pb2 import (
    ListNotificationTypesRequest,
    ListNotificationTypesResponse,
    NotificationType,
)
from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    NotificationTypeServiceServicer,
    add_NotificationTypeServiceServicer_to_server,
)
from clarion.recipients.cache.live_defaults import LiveDefaults
from clarion.recipients.router_types import RouterTypes
from clarion.recipients.tables import defaults as table
from clarion.recipients.transactions import transaction
from clarion.runtime.clock import SystemClock
from clarion.runtime.errors import UnavailableError
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import FakeClock, refused, serve
from clarion.runtime.testing.grpc_harness import mesh_channel


async def put_defaults(stubs: Any, **wanted: Any) -> Preferences:
    request = PutDefaultPreferencesRequest(preferences=Preferences(**wanted))
    return await stubs.preferences.PutDefaultPreferences(request)


async def get_defaults(stubs: Any) -> Preferences:
    return await stubs.preferences.GetDefaultPreferences(GetDefaultPreferencesRequest())


async def update(stubs: Any, user_id: str, **wanted: Any) -> Preferences:
    request = UpdatePreferencesRequest(
        user_id=user_id, preferences=Preferences(**wanted)
    )
    return await stubs.preferences.UpdatePreferences(request)


async def get(stubs: Any, user_id: str) -> Preferences:
    return await stubs.preferences.GetPreferences(
        GetPreferencesRequest(user_id=user_id)
    )


async def know(stubs: Any, *user_ids: str) -> None:
    for user_id in user_ids:
        await stubs.people.PutRecipient(
            PutRecipientRequest(user_id=user_id, recipient=Recipient(locale="en"))
        )


async def decided_by(stubs: Any, *user_ids: str) -> list[Preferences]:
    """What the router is given."""
    request = BatchGetRecipientsRequest(user_ids=user_ids)
    answer = await stubs.people.BatchGetRecipients(request)
    return [profile.preferences for profile in answer.profiles]


async def test_a_tenant_has_no_defaults_at_first(stubs: Any) -> None:
    assert (await get_defaults(stubs)).version == 0


async def test_defaults_are_replaced_as_a_whole_and_repeating_keeps_the_version(
    stubs: Any,
) -> None:
    first = await put_defaults(stubs, sms_enabled=False, categories={"news": False})
    assert (first.version, first.user_id) == (1, "")
    assert await put_defaults(stubs, sms_enabled=False, categories={"news": 0})
    assert (await get_defaults(stubs)).version == 1
    second = await put_defaults(stubs, push_enabled=False)
    assert (second.version, dict(second.categories)) == (2, {})
    assert not second.HasField("sms_enabled")
    assert await get_defaults(stubs) == second


async def test_defaults_are_one_tenants_own(service: Any, stubs: Any) -> None:
    await put_defaults(stubs, sms_enabled=False)
    other = service.of("t-somebody-else")
    assert (await get_defaults(other)).version == 0
    await know(other, "u")
    (preferences,) = await decided_by(other, "u")
    assert preferences == Preferences()


async def test_what_a_person_leaves_open_is_the_defaults_and_says_so(
    stubs: Any,
) -> None:
    await know(stubs, "silent", "vocal")
    await update(stubs, "vocal", sms_enabled=True, categories={"news": True})
    await decided_by(stubs, "silent", "vocal")  # so that they are cached
    await put_defaults(
        stubs,
        sms_enabled=False,
        categories={"news": False, "offers": False},
        quiet_hours=QuietHours(start="22:00", end="07:00"),
    )
    silent, vocal = await decided_by(stubs, "silent", "vocal")
    assert (silent.sms_enabled, silent.categories["news"]) == (False, False)
    assert (silent.version, silent.defaults_version) == (0, 1)
    assert (vocal.sms_enabled, vocal.categories["news"]) == (True, True)
    assert (vocal.categories["offers"], vocal.quiet_hours.start) == (False, "22:00")
    assert (vocal.version, vocal.defaults_version) == (1, 1)
    assert list(vocal.inherited) == ["categories.offers", "quiet_hours"]
    shown = await get(stubs, "vocal")
    assert set(shown.inherited) == {
        *vocal.inherited,
        "push_enabled",
        "email_enabled",
        "in_app_enabled",
    }
    await put_defaults(stubs)
    assert await decided_by(stubs, "silent") == [Preferences()]


async def test_a_change_by_a_person_never_keeps_the_defaults(stubs: Any) -> None:
    await know(stubs, "u")
    await put_defaults(stubs, sms_enabled=False, categories={"offers": False})
    await update(stubs, "u", push_enabled=False)
    # A form that sends back all that it was shown, with one switch changed.
    form = await get(stubs, "u")
    form.email_enabled = False
    changed = await stubs.preferences.UpdatePreferences(
        UpdatePreferencesRequest(user_id="u", preferences=form)
    )
    assert not changed.email_enabled
    await put_defaults(stubs, sms_enabled=True)
    (preferences,) = await decided_by(stubs, "u")
    assert preferences.sms_enabled
    assert dict(preferences.categories) == {}
    assert (preferences.push_enabled, preferences.email_enabled) == (False, False)


async def test_who_wants_no_quiet_hours_is_not_given_those_of_the_defaults(
    stubs: Any,
) -> None:
    await know(stubs, "u")
    await put_defaults(stubs, quiet_hours=QuietHours(start="22:00", end="07:00"))
    assert (await decided_by(stubs, "u"))[0].quiet_hours.start == "22:00"
    await update(stubs, "u", quiet_hours=QuietHours())
    assert not (await decided_by(stubs, "u"))[0].HasField("quiet_hours")
    await update(stubs, "u", inherited=["quiet_hours"])
    assert (await decided_by(stubs, "u"))[0].quiet_hours.start == "22:00"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_id": "u"}, "preferences.user_id"),
        ({"categories": {"no good": True}}, "preferences.categories"),
        (
            {"quiet_hours": QuietHours(start="1:00", end="02:00")},
            "preferences.quiet_hours.start",
        ),
    ],
)
async def test_wrong_defaults_name_their_field(
    stubs: Any, fields: dict[str, Any], field: str
) -> None:
    with refused() as refusal:
        await put_defaults(stubs, **fields)
    assert [name for name in refusal.fields if name.startswith(field)]


async def test_every_replica_honours_new_defaults_at_once(
    start: Any, tenant: str, nats_url: str
) -> None:
    async with start(nats_url=nats_url) as one, start(nats_url=nats_url) as other:
        here, there = one.of(tenant), other.of(tenant)
        await know(here, "u")
        await decided_by(there, "u")
        await put_defaults(here, sms_enabled=False)
        begin = perf_counter()
        assert not (await decided_by(here, "u"))[0].sms_enabled
        while (await decided_by(there, "u"))[0].defaults_version != 1:
            assert perf_counter() - begin < 5
        assert perf_counter() - begin < 1


async def test_a_replica_that_hears_nothing_honours_them_within_a_second(
    start: Any, tenant: str
) -> None:
    # Without NATS there are no hints at all.
    async with start() as one, start() as other:
        here, there = one.of(tenant), other.of(tenant)
        await know(here, "u")
        await decided_by(there, "u")
        await put_defaults(here, sms_enabled=False)
        begin = perf_counter()
        while (await decided_by(there, "u"))[0].defaults_version != 1:
            assert perf_counter() - begin < 5
        assert perf_counter() - begin < 1


async def test_writers_that_meet_leave_one_winner_that_all_see(
    postgres_url: str, tenant: str
) -> None:
    pool: Any = await open_pool(postgres_url, "recipients")
    live = LiveDefaults(pool)
    await live.look()

    async def put(number: int) -> None:
        wanted = Preferences(categories={f"c{number}": False})
        async with transaction(pool) as connection:
            await table.put(connection, tenant, wanted, SystemClock().now())
        await live.look()

    await asyncio.gather(*(put(number) for number in range(8)))
    async with transaction(pool) as connection:
        stored = await table.get(connection, tenant)
    await live.look()
    assert stored.version == 8
    assert live.of(tenant) == stored
    await pool.close()


async def test_what_was_read_last_holds_while_postgres_is_down(
    postgres_url: str, tenant: str
) -> None:
    pool: Any = await open_pool(postgres_url, "recipients")
    live = LiveDefaults(pool)
    with pytest.raises(UnavailableError):
        live.of(tenant)
    async with transaction(pool) as connection:
        wanted = Preferences(sms_enabled=False)
        stored = await table.put(connection, tenant, wanted, SystemClock().now())
    await live.look()
    await pool.close()
    await live.look()
    assert live.of(tenant) == stored


class Types(NotificationTypeServiceServicer):
    """A router that has two critical types, on two pages."""

    def __init__(self) -> None:
        self.calls = 0
        self.names = ["fraud", "security_alert"]

    async def ListNotificationTypes(
        self, request: ListNotificationTypesRequest, context: Any
    ) -> ListNotificationTypesResponse:
        self.calls += not request.page_token
        first, *rest = [
            NotificationType(type=name, category="security", critical=True)
            for name in self.names
        ]
        if request.page_token:
            return ListNotificationTypesResponse(notification_types=rest)
        return ListNotificationTypesResponse(
            notification_types=[first, NotificationType(type="news")],
            next_page_token="more" if rest else "",
        )


async def test_critical_types_are_asked_for_once_a_second_and_the_last_answer_holds(
    tenant: str,
) -> None:
    types, clock = Types(), FakeClock()
    second = timedelta(seconds=1)
    async with (
        serve((add_NotificationTypeServiceServicer_to_server, types)) as router,
        mesh_channel(router.port) as channel,
    ):
        critical = RouterTypes(channel, clock)
        for known in await asyncio.gather(*(critical.of(tenant) for _ in range(20))):
            assert [one.type for one in known or ()] == ["fraud", "security_alert"]
        assert types.calls == 1
        types.names = ["fraud"]
        clock.advance(second)
        assert [one.type for one in await critical.of(tenant) or ()] == ["fraud"]
        types.names = []  # what the router then answers is an error
        clock.advance(second)
        assert [one.type for one in await critical.of(tenant) or ()] == ["fraud"]
        assert await critical.of("t-never-asked") is None
