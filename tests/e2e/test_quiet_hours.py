"""Types, dry runs and quiet hours with real services, over REST."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clarion.client.embedded import Stack

pytestmark = pytest.mark.e2e

SERVICES = ("router", "recipients", "ratelimit", "templating", "tracking")


@pytest.fixture
async def small_stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """A stack without channels: what is planned stays in its stream."""
    async with Stack(tmp_path, services=SERVICES, sandbox=False, apart=True) as stack:
        yield stack


async def call(stack: Stack, verb: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"{stack.urls['rest']}/api/v1/{path}",
        None if body is None else json.dumps(body).encode(),
        {
            "authorization": f"Bearer {stack.demo_key}",
            "content-type": "application/json",
        },
        method=verb,
    )

    def ask() -> Any:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    return await asyncio.to_thread(ask)


async def until(
    stack: Stack, id: str, holds: Callable[[Any], bool], within: float
) -> Any:
    """Asks tracking until it tells what is waited for."""
    seen: Any = None
    try:
        async with asyncio.timeout(within):
            while True:
                try:
                    seen = await call(stack, "GET", f"notifications/{id}")
                except urllib.error.HTTPError:
                    seen = None  # not known yet
                if seen is not None and holds(seen["notification"]):
                    return seen["notification"]
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"last seen: {seen}") from None


@pytest.mark.timeout(240)
async def test_a_deferred_one_outlives_its_router_and_comes_when_it_was_explained(
    small_stack: Stack,
) -> None:
    stack = small_stack
    await call(stack, "PUT", "users/ada", {"email": "ada@example.com"})
    end = datetime.now(UTC) + timedelta(seconds=80)
    end = end.replace(second=0, microsecond=0)  # in 20 to 80 seconds
    start = end - timedelta(hours=2)
    hours = {"start": f"{start:%H:%M}", "end": f"{end:%H:%M}", "timezone": "UTC"}
    await call(stack, "PUT", "users/ada/preferences", {"quiet_hours": hours})
    stored = await call(
        stack, "PUT", "types/tip", {"channels": ["email"], "category": "tips"}
    )
    assert stored["notification_type"]["quiet_hours_policy"] == "defer"
    asked = {"user_id": "ada", "type": "tip", "title": "Hello"}

    explained = await call(stack, "POST", "notifications:explain", asked)
    (channel,) = explained["decision"]["channels"]
    assert (channel["outcome"], channel["reason"]) == ("deferred", "quiet_hours")
    release = datetime.fromisoformat(channel["release_time"])
    assert release == end
    kept, gone = [
        (await call(stack, "POST", "notifications", asked))["notification_id"]
        for _ in range(2)
    ]
    for id in (kept, gone):
        await until(stack, id, lambda n: n["status"] == "deferred", 10)
    answer = await call(stack, "POST", f"notifications/{gone}:cancel", {})
    assert answer["status"] == "cancelled"
    stack.kill("router")
    await stack.wait_ready(30)
    await until(stack, kept, lambda n: n["status"] == "processing", 100)
    assert end <= datetime.now(UTC) < end + timedelta(seconds=10)
    await until(stack, gone, lambda n: n["status"] == "cancelled", 5)
    loud = {**asked, "priority": "high"}
    explained = await call(stack, "POST", "notifications:explain", loud)
    assert explained["decision"]["channels"][0]["outcome"] == "planned"
    used = await call(stack, "GET", "users/ada/limits")
    assert used["categories"]["tips"]["daily_used"] == 1
