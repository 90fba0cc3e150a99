from __future__ import annotations

import asyncio

import psycopg
import pytest

from clarion.client.embedded.servers import PostgresServer
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.testing import wait_until
from clarion.templating.content import Content, Publication, Variant
from clarion.templating.in_memory import InMemoryTemplateStore
from clarion.templating.postgres.template_store import PostgresTemplateStore


@pytest.fixture(
    params=["memory", pytest.param("postgres", marks=pytest.mark.integration)]
)
def store(request):
    if request.param == "memory":
        return InMemoryTemplateStore()
    return PostgresTemplateStore(request.getfixturevalue("pool"))


def content(body, **more):
    return Content((Variant("push", "en", body=body),), **more)


async def test_a_template_is_stored_and_published(store):
    stored = await store.put("t", "a", content("1"), publish=True)
    assert (stored.version, stored.published, stored.content) == (1, True, content("1"))
    assert stored.created_time.tzinfo is not None
    assert await store.get("t", "a") == stored
    assert await store.published("t") == {"a": 1}


async def test_every_part_of_the_content_comes_back(store):
    given = content(
        "ü\n€",
        data_schema={"type": "object", "properties": {"n": {"minimum": 0.5}}},
        layout_id="none",
        description="what for",
        default_locale="de",
    )
    assert (await store.put("t", "a", given, publish=True)).content == given


async def test_repeating_the_content_keeps_the_version(store):
    await store.put("t", "a", content("1"), publish=True)
    assert (await store.put("t", "a", content("2"), publish=True)).version == 2
    assert (await store.put("t", "a", content("2"), publish=True)).version == 2
    back = await store.put("t", "a", content("1"), publish=True)
    assert (back.version, back.published) == (1, True)
    assert (await store.put("t", "a", content("3"), publish=True)).version == 3


async def test_a_draft_changes_nothing_that_is_used(store):
    draft = await store.put("t", "a", content("1"), publish=False)
    assert (draft.version, draft.published) == (1, False)
    assert await store.get("t", "a") is None
    assert await store.published("t") == {}
    assert await store.list("t", "", 10) == []
    published = await store.publish("t", "a", 1)
    assert published.published
    await store.put("t", "a", content("2"), publish=False)
    assert (await store.get("t", "a")).version == 1


async def test_publishing_an_earlier_version_rolls_back(store):
    await store.put("t", "a", content("1"), publish=True)
    await store.put("t", "a", content("2"), publish=True)
    assert (await store.publish("t", "a", 1)).content == content("1")
    assert (await store.get("t", "a")).version == 1
    assert not (await store.get("t", "a", 2)).published


@pytest.mark.parametrize("version", [2, 4_000_000_000])
async def test_what_does_not_exist_is_none(store, version):
    await store.put("t", "a", content("1"), publish=True)
    assert await store.get("t", "a", version) is None
    assert await store.publish("t", "a", version) is None
    assert await store.get("t", "b") is None
    assert await store.published("t") == {"a": 1}


async def test_the_list_is_ordered_and_goes_on_after_an_id(store):
    for name in ("b", "a", "B", "c"):
        await store.put("t", name, content(name), publish=True)
    assert [one.template_id for one in await store.list("t", "", 3)] == ["B", "a", "b"]
    assert [one.template_id for one in await store.list("t", "b", 3)] == ["c"]


async def test_tenants_do_not_see_each_other(store):
    await store.put("t", "a", content("1"), publish=True)
    assert await store.get("other", "a") is None
    assert await store.publish("other", "a", 1) is None
    assert await store.list("other", "", 10) == []
    assert await store.published("other") == {}
    assert (await store.put("other", "a", content("2"), publish=True)).version == 1


async def test_writers_at_once_get_versions_of_their_own(store):
    stored = await asyncio.gather(
        *(store.put("t", "a", content(str(n % 4)), publish=True) for n in range(8))
    )
    assert {one.version for one in stored} == {1, 2, 3, 4}


async def test_what_was_published_when_is_known(store):
    await store.put("t", "a", content("1"), publish=True)
    await store.put("t", "a", content("2"), publish=True)
    await store.put("t", "a", content("3"), publish=False)
    # Publishing what is published already is nothing new.
    await store.put("t", "a", content("2"), publish=True)
    await store.publish("t", "a", 1)
    await store.put("t", "b", content("1"), publish=True)
    await store.put("t", "draft", content("1"), publish=False)
    found = await store.publications("t")
    assert [one.version for one in found["a"]] == [1, 2, 1]
    times = [one.published_time for one in found["a"]]
    assert times == sorted(times)
    assert times[0].tzinfo is not None
    assert set(found) == {"a", "b"}
    assert await store.publications("other") == {}


@pytest.mark.integration
async def test_writers_at_once_leave_every_publication(pool):
    store = PostgresTemplateStore(pool)
    await asyncio.gather(
        *(store.put("t", "a", content(str(n)), publish=True) for n in range(8))
    )
    versions = [one.version for one in (await store.publications("t"))["a"]]
    assert sorted(versions) == list(range(1, 9))
    assert await store.published("t") == {"a": versions[-1]}


@pytest.mark.integration
async def test_what_was_published_before_times_were_kept_always_was(tmp_path):
    steps = migrations_of("templating")
    async with PostgresServer(tmp_path) as server:
        await asyncio.to_thread(migrate, server.url, "templating", steps[:1])
        pool = await open_pool(server.url, "templating")
        async with pool.connection() as connection:
            for statement in _BEFORE.split(";"):
                await connection.execute(statement)
        await asyncio.to_thread(migrate, server.url, "templating", steps)
        found = await PostgresTemplateStore(pool).publications("t")
        assert found == {"a": [Publication(None, 2)]}
        await pool.close()


_BEFORE = """
INSERT INTO templates VALUES ('t', 'a', 3, 2), ('t', 'draft', 1, NULL);
INSERT INTO template_versions (tenant, template_id, version, content, content_hash)
SELECT 't', 'a', n, '{}', n::text::bytea FROM generate_series(1, 3) AS n
"""


async def test_what_was_published_of_all_tenants_can_be_followed(store):
    begin = await store.revision()
    await store.put("t", "a", content("1"), publish=True)
    await store.put("u", "a", content("1"), publish=True)
    await store.put("u", "b", content("1"), publish=False)
    await store.put("t", "a", content("1"), publish=True)
    first, second = await store.changed(begin, 10)
    assert (first[0], second[0]) == ("t", "u")
    assert begin < first[1] < second[1] == await store.revision()
    assert await store.changed(begin, 1) == [first]
    await store.put("t", "a", content("2"), publish=True)
    await store.publish("t", "a", 1)
    assert [tenant for tenant, _ in await store.changed(second[1], 10)] == ["t"]


@pytest.mark.integration
async def test_no_revision_is_seen_before_a_lower_one(pool, postgres_url):
    store = PostgresTemplateStore(pool)
    await store.put("t", "a", content("1"), publish=True)
    await store.put("u", "a", content("1"), publish=True)
    begin = await store.revision()
    async with pool.connection() as slow:
        # As a release that knows of no revisions would publish.
        await slow.execute(
            "UPDATE templates SET published_version = NULL WHERE tenant = 't'"
        )
        other = asyncio.create_task(store.put("u", "a", content("2"), publish=True))
        await wait_until(lambda: _is_waiting(postgres_url))
        assert await store.changed(begin, 10) == []
    await other
    changes = await store.changed(begin, 10)
    assert [tenant for tenant, _ in changes] == ["t", "u"]


def _is_waiting(url):
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        ((waiting,),) = found.fetchall()
        return waiting > 0
