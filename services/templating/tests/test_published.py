from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing import FakeClock
from clarion.templating.content import Publication
from clarion.templating.published import PublishedVersions, version_at


class Source:
    """Stands in for a store of which only the published versions are asked."""

    def __init__(self) -> None:
        self.answer = {"a": 1}
        self.calls = 0
        self.fails = False
        self.changes = []
        self.open = asyncio.Event()
        self.open.set()

    async def revision(self):
        return len(self.changes)

    async def changed(self, after, limit):
        if self.fails:
            raise UnavailableError
        later = enumerate(self.changes[after:], after + 1)
        return [(tenant, revision) for revision, tenant in later][:limit]

    async def published(self, tenant):
        self.calls += 1
        await self.open.wait()
        if self.fails:
            raise UnavailableError
        return dict(self.answer)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def published(source, clock):
    return PublishedVersions(source, clock)


async def test_one_look_serves_for_a_second(published, source, clock):
    for _ in range(3):
        assert await published.of("t") == {"a": 1}
    source.answer = {"a": 2}
    clock.advance(timedelta(seconds=0.9))
    assert await published.of("t") == {"a": 1}
    clock.advance(timedelta(seconds=0.1))
    assert await published.of("t") == {"a": 2}
    assert source.calls == 2


async def test_calls_at_once_share_a_look(published, source):
    await asyncio.gather(*(published.of("t") for _ in range(5)))
    assert source.calls == 1


async def test_a_change_made_here_is_seen_at_once(published, source):
    await published.of("t")
    source.answer = {"a": 2}
    published.forget("t")
    published.forget("unknown")
    assert await published.of("t") == {"a": 2}


async def test_what_is_followed_is_asked_again_when_it_changed(
    published, source, clock
):
    await published.look()
    for _ in range(20):
        assert await published.of("t") == {"a": 1}
        clock.advance(timedelta(seconds=2))
        await published.look()
    assert source.calls == 1
    source.answer = {"a": 2}
    source.changes += ["other"] * 1500 + ["t"]
    await published.look()
    assert await published.of("t") == {"a": 2}
    assert source.calls == 2


async def test_who_does_not_hear_of_changes_looks_again(published, source, clock):
    await published.look()
    await published.of("t")
    source.answer = {"a": 2}
    clock.advance(timedelta(seconds=2))
    assert await published.of("t") == {"a": 2}


async def test_a_change_that_could_not_be_looked_up_is_not_forgotten(
    published, source, clock
):
    await published.look()
    await published.of("t")
    source.answer = {"a": 2}
    source.changes.append("t")
    await published.look()
    source.fails = True
    assert await published.of("t") == {"a": 1}
    source.fails = False
    clock.advance(timedelta(seconds=2))
    await published.look()
    assert await published.of("t") == {"a": 2}


async def test_nobody_is_believed_for_ever_to_have_heard_all(published, source, clock):
    await published.look()
    await published.of("t")
    source.answer = {"a": 2}
    clock.advance(timedelta(seconds=61))
    await published.look()
    assert await published.of("t") == {"a": 2}


async def test_what_is_known_outlives_the_database(published, source, clock):
    await published.of("t")
    source.fails = True
    for _ in range(3):
        clock.advance(timedelta(seconds=2))
        assert await published.of("t") == {"a": 1}
    source.fails = False
    source.answer = {"a": 2}
    clock.advance(timedelta(seconds=2))
    assert await published.of("t") == {"a": 2}


async def test_a_slow_database_does_not_hold_up_what_is_known(published, source, clock):
    await published.of("t")
    source.open.clear()
    source.answer = {"a": 2}
    clock.advance(timedelta(seconds=2))
    assert await published.of("t") == {"a": 1}
    source.open.set()
    published.forget("t")
    assert await published.of("t") == {"a": 2}


async def test_where_nothing_is_known_a_database_that_is_down_is_an_error(
    published, source
):
    source.fails = True
    with pytest.raises(UnavailableError):
        await published.of("t")
    source.fails = False
    assert await published.of("t") == {"a": 1}


def hour(number):
    return datetime(2026, 11, 23, number, tzinfo=UTC)


PUBLISHED = [Publication(hour(n), v) for n, v in ((8, 1), (10, 2), (12, 1), (12, 3))]
# (what was published, when, the version that was used then)
THEN = [
    (PUBLISHED, 9, 1),
    (PUBLISHED, 8, 1),
    (PUBLISHED, 10, 2),
    (PUBLISHED, 11, 2),
    (PUBLISHED, 12, 3),
    (PUBLISHED, 23, 3),
    (PUBLISHED, 7, 1),
    ([Publication(None, 4), *PUBLISHED], 7, 4),
    ([], 9, 0),
]


@pytest.mark.parametrize(("publications", "at", "version"), THEN)
def test_of_an_instant_the_version_of_then_is_used(publications, at, version):
    assert version_at(publications, hour(at)) == version
