"""The inbox on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import UTC, datetime

from clarion.inapp.inbox import Owner, Position

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_a_delivery_that_comes_twice_is_one_item(inbox, owner, job):
    once = job()

    await inbox.add([once, once], NOW)
    changed = await inbox.add([once], NOW)

    assert changed == set()
    assert len(await inbox.list(owner, "all", 10, None)) == 1


async def test_an_item_keeps_its_content_and_the_kind_of_its_numbers(inbox, owner, job):
    await inbox.add([job("Títle\x00")], NOW)

    (item,) = await inbox.list(owner, "all", 10, None)

    assert item.title == "Títle\N{REPLACEMENT CHARACTER}"
    assert dict(item.data.items()) == {"items": 20, "amount": 99.99}
    assert item.created_time.ToDatetime(UTC) == NOW


async def test_another_tenants_person_of_the_same_id_sees_nothing(inbox, owner, job):
    await inbox.add([job()], NOW)

    assert await inbox.list(Owner("other", owner.user_id), "all", 10, None) == []


async def test_pages_hold_every_item_once(inbox, owner, job):
    await inbox.add([job() for _ in range(25)], NOW)

    seen, before = [], None
    while page := await inbox.list(owner, "all", 10, before):
        seen += [item.item_id for item in page]
        before = Position(page[-1].created_time.ToDatetime(UTC), page[-1].item_id)

    assert len(seen) == len(set(seen)) == 25


async def test_versions_of_concurrent_changes_are_all_different(inbox, owner, job):
    await asyncio.gather(*(inbox.add([job(), job()], NOW) for _ in range(10)))

    items, counts = await inbox.changes(owner, 0, 100)

    versions = [item.version for item in items]
    assert versions == sorted(set(versions))
    assert len(versions) == 20
    assert counts.version == versions[-1]


async def test_counts_equal_the_rows_after_any_interleaving(inbox, owner, job):
    choose = random.Random(7)
    ids = [str(uuid.uuid4()) for _ in range(12)]
    marks = ("seen", "read", "unread", "archived", "unarchived")

    async def one() -> None:
        if choose.random() < 0.4:
            await inbox.add([job(delivery_id=choose.choice(ids))], NOW)
        else:
            chosen = choose.sample(ids, choose.randint(0, 4))
            await inbox.mark(owner, chosen, choose.choice(marks), NOW)

    for _ in range(15):
        await asyncio.gather(*(one() for _ in range(6)))

    counts = await inbox.counts(owner)
    rows = await inbox.list(owner, "all", 100, None)
    assert counts.total == len(rows)
    assert counts.unread == sum(not item.HasField("read_time") for item in rows)
    assert counts.unseen == sum(not item.HasField("seen_time") for item in rows)


async def test_a_repeated_mark_changes_nothing_and_still_names_the_items(
    inbox, owner, job
):
    once = job()
    await inbox.add([once], NOW)

    first = await inbox.mark(owner, [once.delivery_id], "read", NOW)
    second = await inbox.mark(owner, [once.delivery_id], "read", NOW)

    assert (first.changed, second.changed) == (1, 0)
    assert first.items == second.items
    assert second.counts.unread == 0
