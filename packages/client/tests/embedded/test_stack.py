from __future__ import annotations

import json
from pathlib import Path

import nats
import psycopg
import pytest

from clarion.client.embedded import Stack
from clarion.client.embedded.errors import AlreadyRunningError, NotRunningError

pytestmark = pytest.mark.integration


def _servers_alone(data: Path) -> Stack:
    return Stack(data, services=(), sandbox=False, edge=False)


def _sockets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


def _files(folder: Path) -> set[str]:
    return {str(path) for path in folder.iterdir() if path.is_file()}


async def test_stack_declares_the_streams(tmp_path: Path):
    async with _servers_alone(tmp_path) as stack:
        client = await nats.connect(stack.urls["nats"])
        names = {info.config.name for info in await client.jetstream().streams_info()}
        await client.close()
    assert {"SCHED", "WORK", "EVENTS", "DLQ"} <= names


async def test_stack_started_again_has_the_same_urls_keys_and_data(tmp_path: Path):
    async with _servers_alone(tmp_path) as stack:
        urls, key = stack.urls, stack.demo_key
        connection = await psycopg.AsyncConnection.connect(urls["postgres"])
        async with connection:
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    async with _servers_alone(tmp_path) as stack:
        assert (stack.urls, stack.demo_key) == (urls, key)
        connection = await psycopg.AsyncConnection.connect(urls["postgres"])
        async with connection:
            cursor = await connection.execute("SELECT n FROM kept")
            assert await cursor.fetchone() == (1,)


async def test_second_stack_on_a_folder_is_refused(tmp_path: Path):
    async with _servers_alone(tmp_path):
        with pytest.raises(AlreadyRunningError):
            await _servers_alone(tmp_path).start()


async def test_server_of_a_stack_that_is_killed_comes_back(tmp_path: Path):
    async with _servers_alone(tmp_path) as stack:
        seen = stack.state.processes["postgres"]
        first = seen.pid
        stack.kill("postgres")
        await stack.wait_ready(10)
        assert seen.pid != first
        connection = await psycopg.AsyncConnection.connect(stack.urls["postgres"])
        await connection.close()
    assert seen.restarts >= 1


async def test_stopped_stack_leaves_its_data_and_no_process(
    tmp_path: Path, runs, wait_until
):
    async with _servers_alone(tmp_path) as stack:
        pids = [one.pid for one in stack.state.processes.values()]
    await wait_until(lambda: not any(map(runs, pids)))
    state = json.loads((tmp_path / "stack.json").read_text())
    assert state["pid"] is None
    assert {one["state"] for one in state["processes"].values()} == {"stopped"}
    assert _sockets(tmp_path) == []


async def test_sandbox_is_ready_with_the_keys_of_every_provider(tmp_path: Path):
    async with Stack(tmp_path, services=(), edge=False) as stack:
        push = stack.environment("push")
        sms = stack.environment("sms")
        email = stack.environment("email")
    files = {
        push["CLARION_FCM_CREDENTIALS_FILE"],
        push["CLARION_APNS_KEY_FILE"],
        push["CLARION_PUSH_CA_FILE"],
        sms["CLARION_TWILIO_AUTH_TOKEN_FILE"],
    }
    assert files <= _files(tmp_path / "sandbox")
    assert email["CLARION_SMTP_URL"].startswith("smtp://127.0.0.1:")
    assert push["CLARION_LISTEN"] == sms["CLARION_PUSH_TARGET"]


def test_unknown_service_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="routre"):
        Stack(tmp_path, services=("routre",))


def test_stack_that_was_not_started_cannot_be_killed(tmp_path: Path):
    with pytest.raises(NotRunningError):
        _servers_alone(tmp_path).kill("nats")
