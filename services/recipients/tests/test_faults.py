from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from clarion.api.recipients.v1.consent_service_pb2 import (
    BatchSuppressRequest,
    RemoveSuppressionRequest,
)
from clarion.api.recipients.v1.preference_service_pb2 import UpdatePreferencesRequest
from clarion.api.recipients.v1.recipient_pb2 import (
    Preferences,
    Recipient,
    Suppression,
)
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsRequest,
    BatchPutRecipientsRequest,
    PutRecipientRequest,
)
from clarion.client.embedded.servers import PostgresServer, ValkeyServer
from clarion.recipients.announcing import NatsAnnouncer, changed_subject
from clarion.recipients.cache.live_defaults import LiveDefaults
from clarion.recipients.cache.profile_cache import ProfileCache, profile_key
from clarion.recipients.cache.suppression_mirror import MARKER
from clarion.recipients.profiles import Profiles
from clarion.recipients.readiness import Readiness
from clarion.recipients.tables import profiles as rows
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import Streams
from clarion.runtime.keys import suppressed_key
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import refused, wait_until

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
TTL = timedelta(minutes=1)


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    async with ValkeyServer(tmp_path / "own-valkey") as server:
        yield server


async def put(stubs: Any, user_id: str, name: str = "") -> None:
    await stubs.people.PutRecipient(
        PutRecipientRequest(
            user_id=user_id,
            recipient=Recipient(display_name=name, email=f"{user_id}@example.com"),
        )
    )


async def names(stubs: Any, *user_ids: str) -> list[str]:
    request = BatchGetRecipientsRequest(user_ids=user_ids)
    found = (await stubs.people.BatchGetRecipients(request)).profiles
    return [profile.recipient.display_name for profile in found]


async def test_a_reader_that_read_before_a_write_cannot_fill_after_it(
    stubs: Any, tenant: str, redis: Any, postgres_url: str
) -> None:
    await put(stubs, "u", "before")
    reader = ProfileCache(redis, TTL)
    pool: Any = await open_pool(postgres_url, "recipients")
    lease = await reader.lease(tenant, ["u"])
    read = await rows.read(pool, tenant, ["u"])
    await put(stubs, "u", "after")
    assert await names(stubs, "u") == ["after"]  # and so it is cached again
    await reader.fill(tenant, lease, {"u": read["u"]})
    assert await names(stubs, "u") == ["after"]
    await redis.delete(profile_key(tenant, "u"))
    await reader.fill(tenant, lease, {"u": read["u"]})
    assert not await redis.exists(profile_key(tenant, "u"))
    await pool.close()


async def test_a_guarded_person_is_neither_leased_nor_filled(
    redis: Any, tenant: str
) -> None:
    cache = ProfileCache(redis, TTL)
    await cache.guard(tenant, ["u"])
    lease = await cache.lease(tenant, ["u"])
    await cache.fill(tenant, lease, {"u": b"\x0astale"})
    assert await cache.get(tenant, ["u"]) == [None]
    await cache.drop(tenant, ["u"])
    lease = await cache.lease(tenant, ["u"])
    await cache.fill(tenant, lease, {"u": b"\x0afresh"})
    assert await cache.get(tenant, ["u"]) == [b"\x0afresh"]


async def test_after_every_write_all_readers_see_it_while_others_read(
    start: Any, tenant: str
) -> None:
    async with start() as one, start() as two:
        writing, reading = one.of(tenant), two.of(tenant)
        await put(writing, "u", "0")
        done = False

        async def read_all_the_time() -> None:
            while not done:
                await names(reading, "u")

        readers = [asyncio.create_task(read_all_the_time()) for _ in range(4)]
        try:
            for n in range(1, 60):
                await put(writing, "u", str(n))
                assert await names(reading, "u") == [str(n)]
                assert await names(writing, "u") == [str(n)]
        finally:
            done = True
            await asyncio.gather(*readers)


async def test_without_valkey_postgres_answers_and_what_returns_is_not_stale(
    start: Any, tenant: str, own_valkey: ValkeyServer
) -> None:
    async with start(redis_url=own_valkey.url) as service:
        stubs = service.of(tenant)
        await put(stubs, "u", "before")
        assert await names(stubs, "u") == ["before"]
        await own_valkey.kill()
        assert await names(stubs, "u") == ["before"]
        await put(stubs, "u", "after")
        assert await names(stubs, "u") == ["after"]
        assert service.harness.health.serving
        # It comes back with what it had: the profile from before.
        await own_valkey.start()
        for _ in range(20):
            assert await names(stubs, "u") == ["after"]
        async with start(redis_url=own_valkey.url) as other:
            seen: list[str] = []

            async def sees_the_change() -> None:
                while seen != ["after"]:
                    seen[:] = await names(other.of(tenant), "u")

            await asyncio.wait_for(sees_the_change(), 10)


async def test_without_postgres_only_the_cached_are_answered(
    start: Any, tenant: str, tmp_path: Path
) -> None:
    async with PostgresServer(tmp_path / "own-postgres") as own:
        migrate(own.url, "recipients", migrations_of("recipients"))
        async with start(postgres_url=own.url) as running:
            stubs = running.of(tenant)
            await put(stubs, "cached", "name")
            await stubs.people.BatchPutRecipients(
                BatchPutRecipientsRequest(recipients=[Recipient(user_id="not-cached")])
            )
            assert await names(stubs, "cached") == ["name"]
            await own.stop()
            assert await names(stubs, "cached") == ["name"]
            for asked in (["not-cached"], ["cached", "not-cached"]):
                with refused() as refusal:
                    await names(stubs, *asked)
                assert refusal.code is grpc.StatusCode.UNAVAILABLE
                assert refusal.metadata == {"dependency": "postgres"}
            with refused() as refusal:
                await stubs.preferences.UpdatePreferences(
                    UpdatePreferencesRequest(
                        user_id="cached", preferences=Preferences()
                    )
                )
            assert refusal.reason == "DEPENDENCY_UNAVAILABLE"


async def test_nobody_is_answered_before_the_default_preferences_are_known(
    start: Any, tenant: str
) -> None:
    async with start() as whole:
        await put(whole.of(tenant), "cached", "name")
        assert await names(whole.of(tenant), "cached") == ["name"]
    async with start(postgres_url=NOWHERE, ready=False) as lame:
        with refused() as refusal:
            await names(lame.of(tenant), "cached")
    assert refusal.metadata == {"dependency": "postgres"}


async def test_a_misread_is_not_cached_when_valkey_holds_rubbish(
    redis: Any, tenant: str
) -> None:
    await redis.set(profile_key(tenant, "u"), b"rubbish")
    assert await ProfileCache(redis, TTL).get(tenant, ["u"]) == [None]


async def test_the_joined_answer_keeps_order_and_repeats(
    redis: Any, tenant: str, stubs: Any, postgres_url: str
) -> None:
    await put(stubs, "a", "A")
    pool: Any = await open_pool(postgres_url, "recipients")
    live = LiveDefaults(pool)
    await live.look()
    profiles = Profiles(pool, ProfileCache(redis, TTL), live)
    first = await profiles.get(tenant, ["a", "nobody", "a"])
    assert await profiles.get(tenant, ["a", "nobody", "a"]) == first
    assert (await profiles.get_one(tenant, "a")).recipient.display_name == "A"
    await pool.close()


async def until_there(client: Any, key: str) -> None:
    async with asyncio.timeout(10):
        while not await client.exists(key):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.005)


def suppression(address: str) -> Suppression:
    return Suppression(channel="email", address=address, reason="stop")


async def test_an_emptied_valkey_gets_the_suppressions_back(
    stubs: Any, tenant: str, redis: Any
) -> None:
    await stubs.people.PutRecipient(
        PutRecipientRequest(user_id="u", recipient=Recipient(email="An@example.com"))
    )
    await stubs.consents.BatchSuppress(
        BatchSuppressRequest(suppressions=[suppression("an@example.com")])
    )
    keys = [
        suppressed_key(tenant, "email", address)
        for address in ("an@example.com", "An@example.com")
    ]
    await redis.flushall()
    await until_there(redis, MARKER)
    assert await redis.exists(*keys) == 2
    assert await redis.get(keys[0]) == b"stop"


async def test_a_restarted_valkey_keeps_no_profile_from_before(
    stubs: Any, tenant: str, redis: Any
) -> None:
    await put(stubs, "u", "name")
    assert await names(stubs, "u") == ["name"]
    assert await redis.exists(profile_key(tenant, "u"))
    await redis.set(MARKER, b"another run")
    async with asyncio.timeout(10):
        while await redis.exists(profile_key(tenant, "u")):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert await names(stubs, "u") == ["name"]


async def test_suppressing_without_valkey_is_made_up_for_and_lifting_refused(
    start: Any, tenant: str, own_valkey: ValkeyServer
) -> None:
    from redis.asyncio import Redis

    async with start(redis_url=own_valkey.url) as service:
        stubs = service.of(tenant)
        await own_valkey.kill()
        request = BatchSuppressRequest(suppressions=[suppression("an@example.com")])
        assert (await stubs.consents.BatchSuppress(request)).added == 1
        lifting = RemoveSuppressionRequest(channel="email", address="an@example.com")
        with refused() as refusal:
            await stubs.consents.RemoveSuppression(lifting)
        assert refusal.metadata == {"dependency": "redis"}
        await own_valkey.start()
        client: Any = Redis.from_url(own_valkey.url)
        key = suppressed_key(tenant, "email", "an@example.com")
        await until_there(client, key)
        assert (await stubs.consents.RemoveSuppression(lifting)).removed
        assert not await client.exists(key)
        await client.aclose()


async def test_changes_are_announced_on_core_nats(
    start: Any, tenant: str, streams: Streams, nats_url: str
) -> None:
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    await streams.nc.subscribe(changed_subject(tenant), cb=hear)
    await streams.nc.flush()
    async with start(nats_url=nats_url) as service:
        stubs = service.of(tenant)

        async def put_until_heard() -> None:
            while not heard:  # the announcer connects in the background
                await put(stubs, "u")

        await asyncio.wait_for(put_until_heard(), 10)
        assert heard[0] == b"u"


async def test_without_nats_people_are_written_all_the_same(
    start: Any, tenant: str
) -> None:
    async with start(nats_url="nats://127.0.0.1:1") as service:
        stubs = service.of(tenant)
        await put(stubs, "u", "name")
        assert await names(stubs, "u") == ["name"]
    await NatsAnnouncer("nats://127.0.0.1:1").changed(tenant, ["u"])


async def test_readiness_survives_either_store_but_not_both() -> None:
    down: set[str] = {"postgres", "valkey"}

    def check(name: str) -> Any:
        async def look() -> None:
            if name in down:
                raise UnavailableError(name)

        return look

    readiness = Readiness(check("postgres"), check("valkey"))
    down.remove("valkey")
    with pytest.raises(UnavailableError):  # nothing may be cached yet
        await readiness.check()
    down.remove("postgres")
    await readiness.check()
    down.add("postgres")
    await readiness.check()
    down.add("valkey")
    with pytest.raises(UnavailableError):
        await readiness.check()


async def test_late_drops_are_made_and_distrust_ends(redis: Any, tenant: str) -> None:
    cache = ProfileCache(redis, TTL)
    await redis.set(profile_key(tenant, "u"), b"\x0astale")
    cache._remember([profile_key(tenant, "u")])
    assert await cache.get(tenant, ["u"]) == [None]
    cache._wake.set()
    running = asyncio.create_task(cache.run())
    await wait_until(lambda: not cache._pending)
    running.cancel()
    assert not await redis.exists(profile_key(tenant, "u"))
