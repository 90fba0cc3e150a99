from __future__ import annotations

import os
from pathlib import Path
from typing import LiteralString

import aiohttp
import nats
import psutil
import psycopg
import pytest
from redis.asyncio import Redis

from clarion.client.embedded.errors import StartError
from clarion.client.embedded.ports import free_port
from clarion.client.embedded.servers import (
    EnvoyServer,
    NatsServer,
    PostgresServer,
    Server,
    ValkeyServer,
)

pytestmark = pytest.mark.integration

ENVOY_TEMPLATE = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ${admin_port}}}}
static_resources:
  listeners:
    - name: edge
      address: {socket_address: {address: 127.0.0.1, port_value: ${listen_port}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.direct_response
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.\
direct_response.v3.Config
                response: {inline_string: "${text}"}
overload_manager:
  resource_monitors:
    - name: envoy.resource_monitors.global_downstream_max_connections
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.\
downstream_connections.v3.DownstreamConnectionsConfig
        max_active_downstream_connections: 100
"""


async def test_nats_keeps_acknowledged_messages_when_it_is_killed(tmp_path: Path):
    async with NatsServer(tmp_path) as server:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(name="S", subjects=["s"])
        await stream.publish("s", b"kept")
        await client.close()
        await server.kill()
        await server.start()
        client = await nats.connect(server.url)
        found = await client.jetstream().get_last_msg("S", "s")
        assert found.data == b"kept"
        assert client.max_payload == 2 * 1024 * 1024
        await client.close()


async def test_nats_syncs_every_write(tmp_path: Path):
    async with NatsServer(tmp_path) as server:
        client = await nats.connect(server.url)
        settings = (tmp_path / "nats.conf").read_text()
        await client.close()
    assert "sync_interval: always" in settings


@pytest.mark.parametrize("asked", [None, 3])
async def test_nats_leaves_processors_to_the_rest_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None
):
    monkeypatch.delenv("GOMAXPROCS", raising=False)
    if asked:
        monkeypatch.setenv("GOMAXPROCS", str(asked))
    async with (
        NatsServer(tmp_path) as server,
        aiohttp.ClientSession() as http,
        http.get(f"{server.monitor_url}/varz") as answer,
    ):
        found = (await answer.json(content_type=None))["gomaxprocs"]
    assert found == (asked or max((os.cpu_count() or 1) // 2, 1))


async def test_postgres_keeps_committed_rows_when_it_is_killed(tmp_path: Path):
    async with PostgresServer(tmp_path) as server:
        async with await psycopg.AsyncConnection.connect(server.url) as connection:
            await connection.execute("CREATE TABLE t AS SELECT 7 AS n")
        await server.kill()
        await server.start()
        assert await _value(server, "SELECT n FROM t") == 7


async def test_postgres_is_durable_and_takes_200_connections(tmp_path: Path):
    names = ("fsync", "synchronous_commit", "full_page_writes", "max_connections")
    async with PostgresServer(tmp_path) as server:
        settings = [await _value(server, f"SHOW {name}") for name in names]
    assert settings == ["on", "on", "on", "200"]


async def _value(server: PostgresServer, query: LiteralString) -> object:
    async with await psycopg.AsyncConnection.connect(server.url) as connection:
        row = await (await connection.execute(query)).fetchone()
        return row and row[0]


async def test_postgres_refuses_who_has_no_password(tmp_path: Path):
    async with PostgresServer(tmp_path) as server:
        bare = f"postgresql://postgres@{server.address}/postgres"
        with pytest.raises(psycopg.OperationalError, match="password"):
            await psycopg.AsyncConnection.connect(bare)


async def test_postgres_role_is_no_superuser(tmp_path: Path):
    async with PostgresServer(tmp_path) as server:
        assert await _value(server, "SHOW is_superuser") == "off"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change its account")
async def test_postgres_started_by_root_in_a_closed_folder_runs_as_another(
    tmp_path: Path,
):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with PostgresServer(closed / "postgres") as server:
        assert server.pid is not None
        assert psutil.Process(server.pid).uids().effective != 0
    assert closed.stat().st_mode & 0o777 == 0o700


async def test_valkey_keeps_its_data_when_it_is_stopped(tmp_path: Path):
    async with ValkeyServer(tmp_path) as server:
        async with Redis.from_url(server.url) as client:
            await client.set("key", "kept")
        await server.stop()
        await server.start()
        async with Redis.from_url(server.url) as client:
            assert await client.get("key") == b"kept"


async def test_valkey_keeps_its_data_when_it_is_killed(tmp_path: Path):
    async with ValkeyServer(tmp_path) as server:
        async with Redis.from_url(server.url) as client:
            await client.set("key", "kept")
        await server.kill()
        await server.start()
        async with Redis.from_url(server.url) as client:
            assert await client.get("key") == b"kept"


async def test_envoy_serves_what_its_template_says(tmp_path: Path):
    from clarion.client.embedded.servers.server import exchange

    template = tmp_path / "envoy.yaml"
    template.write_text(ENVOY_TEMPLATE)
    values = {"text": "answer"}
    async with EnvoyServer(tmp_path / "e", template=template, values=values) as server:
        assert await exchange(server.port, b"", until=b"answer") == b"answer"
        await server.kill()
        await server.start()
        assert await exchange(server.port, b"", until=b"answer") == b"answer"


@pytest.mark.parametrize("kind", [NatsServer, PostgresServer, ValkeyServer])
async def test_server_leaves_no_process_behind(
    kind: type[Server], tmp_path: Path, runs, wait_until
):
    async with kind(tmp_path) as server:
        assert server.pid is not None
        own = psutil.Process(server.pid)
        pids = [server.pid, *(child.pid for child in own.children(recursive=True))]
    await wait_until(lambda: not any(map(runs, pids)))
    assert server.pid is None


async def test_server_is_stopped_when_the_block_fails(tmp_path: Path, runs):
    pids: list[int | None] = []

    async def fail() -> None:
        async with NatsServer(tmp_path) as server:
            pids.append(server.pid)
            raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        await fail()
    assert pids[0] is not None
    assert not runs(pids[0])


async def test_server_that_cannot_start_says_why(tmp_path: Path):
    async with ValkeyServer(tmp_path / "one") as one:
        two = NatsServer(tmp_path / "two", port=one.port)
        with pytest.raises(StartError, match="address already in use"):
            await two.start(timeout=5)
        assert two.pid is None


async def test_killed_postgres_leaves_no_shared_memory(tmp_path: Path):
    server = PostgresServer(tmp_path)
    async with server:
        lines = (tmp_path / "data" / "postmaster.pid").read_text().splitlines()
        segment = lines[6].split()[1]
        assert segment in _shared_memory_segments()
        await server.kill()
    assert segment not in _shared_memory_segments()


async def test_ports_of_servers_are_outside_the_range_of_outgoing_connections():
    assert all(free_port() < 32_768 for _ in range(20))


def _shared_memory_segments() -> list[str]:
    table = Path("/proc/sysvipc/shm")
    if not table.exists():
        pytest.skip("there is no /proc/sysvipc/shm")
    return [line.split()[1] for line in table.read_text().splitlines()[1:]]
