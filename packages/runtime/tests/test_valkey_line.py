from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psutil
import pytest
import uvloop
from redis.exceptions import NoScriptError, ResponseError

from clarion.client.embedded.servers import ValkeyServer
from clarion.runtime.errors import UnavailableError
from clarion.runtime.testing.waiting import wait_until
from clarion.runtime.valkey import open_client, redis_errors

pytestmark = pytest.mark.integration


async def lined(client: Any, key: str) -> list[bytes | None]:
    """Asks until it was the line that answered."""
    answer = await client.mget([key])
    await wait_until(lambda: client._line is not None and client._line.is_open)
    assert await client.mget([key]) == answer
    return answer


async def test_a_line_is_opened_again_after_a_restart(tmp_path):
    server = ValkeyServer(tmp_path)
    await server.start()
    client: Any = open_client(server.url)
    try:
        await client.set("k", b"1", px=timedelta(minutes=1))
        assert await lined(client, "k") == [b"1"]
        first = client._line
        await server.stop()
        with pytest.raises(UnavailableError), redis_errors():
            await client.mget(["k"])
        assert not first.is_open
        await server.start()
        client._resting_until = 0.0

        assert await lined(client, "k") == [b"1"]
        assert client._line is not first
    finally:
        await client.aclose()
        await server.stop()


def test_a_line_is_opened_by_the_loop_of_services(valkey_url: str):
    async def asked() -> list[bytes | None]:
        client: Any = open_client(valkey_url)
        try:
            return await lined(client, "none")
        finally:
            await client.aclose()

    assert uvloop.run(asked()) == [None]


async def test_answers_on_a_line_belong_to_their_commands(redis: Any):
    await redis.mset({f"k{number}": number for number in range(100)})
    await lined(redis, "k1")
    line = redis._line
    answers = await asyncio.gather(*(redis.mget([f"k{n}", "none"]) for n in range(100)))
    assert answers == [[b"%d" % number, None] for number in range(100)]
    assert redis._line is line
    assert line.is_open


async def test_an_error_of_a_script_on_a_line_is_that_of_redis(redis: Any):
    await lined(redis, "k")
    line = redis._line
    with pytest.raises(NoScriptError):
        await redis.evalsha("0" * 40, 0)
    script = redis.register_script("return redis.call('INCR', KEYS[1])")
    assert await script(["counted"]) == 1
    await redis.lpush("list", "a")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await script(["list"])
    assert redis._line is line
    assert line.is_open


async def test_who_gives_up_waiting_leaves_no_dead_line(tmp_path):
    server = ValkeyServer(tmp_path)
    await server.start()
    client: Any = open_client(server.url)
    try:
        await lined(client, "k")
        line = client._line
        server_process = psutil.Process(server.pid)
        server_process.suspend()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.mget(["k"])
        finally:
            server_process.resume()
        await wait_until(lambda: not line.is_open)
        client._resting_until = 0.0
        assert await lined(client, "k") == [None]
    finally:
        await client.aclose()
        await server.stop()


async def test_a_line_signs_in_and_selects_its_database(tmp_path):
    server = ValkeyServer(tmp_path)
    await server.start()
    admin = open_client(server.url)
    await admin.execute_command("ACL", "SETUSER", "me", "on", ">pass", "~*", "+@all")
    host = server.url.split("//")[1].split("/")[0]
    client: Any = open_client(f"redis://me:pass@{host}/3")
    try:
        await client.set("k", b"three")
        assert await lined(client, "k") == [b"three"]
        assert await admin.mget(["k"]) == [None]
    finally:
        await client.aclose()
        await admin.aclose()
        await server.stop()


@pytest.mark.parametrize("url", ["rediss://h:1/0", "unix:///tmp/none.sock"])
def test_only_plain_connections_have_a_line(url):
    client: Any = open_client(url)
    assert not client.has_line
    assert open_client("redis://h:1/0").has_line  # type: ignore[attr-defined]
