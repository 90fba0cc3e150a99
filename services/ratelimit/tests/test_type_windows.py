from __future__ import annotations

import pytest

from clarion.ratelimit.type_windows import InMemoryTypeWindows, Seen
from clarion.ratelimit.valkey.type_windows import ValkeyTypeWindows
from clarion.ratelimit.window import DAY, HOUR, WEEK, Window

NOW = 1_800_000_000_000_000
HOURLY = (Window(HOUR, 2, "type:ping"),)
WEEKLY = (Window(DAY, 3, "type:news"), Window(WEEK, 9, "type:news"))


@pytest.fixture(
    params=["memory", pytest.param("valkey", marks=pytest.mark.integration)]
)
def store(request):
    if request.param == "memory":
        return InMemoryTypeWindows()
    return ValkeyTypeWindows(request.getfixturevalue("redis"))


async def test_the_windows_of_types_are_kept_by_tenant(store):
    assert await store.get("t", NOW) == {}
    await store.put("t", {"ping": HOURLY, "news": WEEKLY}, NOW)
    assert await store.get("t", NOW) == {"ping": HOURLY, "news": WEEKLY}
    assert await store.get("other", NOW) == {}


async def test_what_was_put_last_holds(store):
    await store.put("t", {"ping": HOURLY}, NOW)
    changed = (Window(DAY, 1, "type:ping"),)
    await store.put("t", {"ping": changed}, NOW + 1)
    assert await store.get("t", NOW + 1) == {"ping": changed}


async def test_types_are_forgotten_when_nothing_of_them_counts(store):
    await store.put("t", {"ping": HOURLY, "news": WEEKLY}, NOW)
    assert await store.get("t", NOW + 2 * HOUR - 1) == {"ping": HOURLY, "news": WEEKLY}
    assert await store.get("t", NOW + 2 * HOUR) == {"news": WEEKLY}
    assert await store.get("t", NOW + WEEK + HOUR) == {}


def test_windows_are_kept_again_when_they_change_and_after_an_hour():
    seen = Seen()
    assert seen.new("t", {"ping": HOURLY}, NOW) == {"ping": HOURLY}
    seen.kept("t", {"ping": HOURLY}, NOW)
    assert seen.new("t", {"ping": HOURLY}, NOW + HOUR - 1) == {}
    assert seen.new("u", {"ping": HOURLY}, NOW) == {"ping": HOURLY}
    assert seen.new("t", {"ping": WEEKLY}, NOW) == {"ping": WEEKLY}
    assert seen.new("t", {"ping": HOURLY}, NOW + HOUR) == {"ping": HOURLY}
