from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest


@asynccontextmanager
async def watching(
    mesh, user_id: str, *, last: str = "", token: bool = False
) -> AsyncIterator[AsyncIterator[tuple[str, str, dict]]]:
    """Server-sent events as (id, event, data)."""
    url = f"{mesh.rest.url}/api/v1/users/{user_id}/inbox:watch"
    headers = {} if token else {"authorization": f"Bearer {mesh.rest.key}"}
    params = {"access_token": mesh.rest.key} if token else {}
    if last:
        headers["last-event-id"] = last
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)

    async def read(response) -> AsyncIterator[tuple[str, str, dict]]:
        fields: dict[str, str] = {}
        async for line in response.content:
            text = line.decode().rstrip("\r\n")
            if text.startswith(":"):
                continue
            if text:
                name, _, value = text.partition(":")
                fields[name] = value.removeprefix(" ")
            elif "event" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}

    async with mesh.rest.http.get(
        url, headers=headers, params=params, timeout=timeout
    ) as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield read(response)


async def _next(events) -> tuple[str, str, dict]:
    return await asyncio.wait_for(anext(events), 15)


async def test_watch_tells_an_arrival_and_its_reading_as_they_happen(mesh):
    person = await mesh.person()
    async with watching(mesh, person.user_id, last="0") as events:
        sent = await mesh.send(person, "in_app", title="Live", data={"n": 20})
        version, event, data = await _next(events)
        assert (event, version) == ("item", "1")
        assert data["item"]["notification_id"] == sent
        assert (data["item"]["title"], data["counts"]["unread"]) == ("Live", 1)
        assert json.dumps(data["item"]["data"]) == '{"n": 20}'
        path = f"/api/v1/users/{person.user_id}/inbox:mark"
        marked = await mesh.rest("POST", path, {"mark": "read"})
        assert marked.body["changed"] == 1
        version, _, data = await _next(events)
        assert (version, data["counts"]["unread"]) == ("2", 0)
        assert data["item"]["read_time"]
    await mesh.has_status(sent, "read")


async def test_watch_resumes_after_the_last_event_without_a_gap(mesh):
    person = await mesh.person()
    async with watching(mesh, person.user_id, last="0") as events:
        await mesh.send(person, "in_app", title="First")
        last, _, _ = await _next(events)
    for title in ("Second", "Third"):
        await mesh.send(person, "in_app", title=title)
    await mesh.in_inbox(person.user_id, 3)
    async with watching(mesh, person.user_id, last=last) as events:
        missed = [await _next(events) for _ in range(2)]
        assert {data["item"]["title"] for _, _, data in missed} == {"Second", "Third"}
        assert [version for version, _, _ in missed] == ["2", "3"]
        await mesh.send(person, "in_app", title="Fourth")
        version, _, data = await _next(events)
        assert (version, data["item"]["title"]) == ("4", "Fourth")


async def test_watch_takes_the_key_of_a_browser_from_the_query(mesh):
    person = await mesh.person()
    async with watching(mesh, person.user_id, last="0", token=True) as events:
        await mesh.send(person, "in_app", title="Browser")
        _, _, data = await _next(events)
    assert data["item"]["title"] == "Browser"


async def test_watch_over_grpc_resumes_at_a_version(mesh):
    person = await mesh.person()
    await mesh.send(person, "in_app", title="First")
    await mesh.in_inbox(person.user_id)
    changes = mesh.client.watch_inbox(person.user_id, after_version=0)
    first = await asyncio.wait_for(anext(changes), 15)
    await mesh.send(person, "in_app", title="Second")
    second = await asyncio.wait_for(anext(changes), 15)
    await changes.aclose()
    assert (first.item.title, second.item.title) == ("First", "Second")
    assert (first.counts.version, second.counts.version) == (1, 2)


@pytest.mark.parametrize("key", ["", "not-a-key"])
async def test_watch_without_a_valid_key_is_refused(mesh, key: str):
    answer = await mesh.rest("GET", "/api/v1/users/somebody/inbox:watch", key=key)
    assert answer.status == 401
    assert answer.body["code"] == 16
