"""One PostgreSQL, Valkey and NATS for a whole test run: a pytest plugin.

The repository's conftest.py loads it. A server starts when the first test asks for it.
What a test gets is as good as new: ``valkey_url`` is empty, ``nats_url`` has no
streams, and ``migrated`` gives each service the schema of its own name, where tests
keep apart by tenant or empty their tables.

Tests that stop, kill or restart a server, or change how it works, start their own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from redis.asyncio import Redis

from clarion.client.embedded.servers import (
    NatsServer,
    PostgresServer,
    Server,
    ValkeyServer,
)
from clarion.runtime.jetstream import Streams, declare_streams
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.testing.grpc_harness import write_keys
from clarion.runtime.valkey import open_client

_FOREIGN = ("SSL_CERT_FILE",)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("CLARION_", "OTEL_")) or name in _FOREIGN:
            monkeypatch.delenv(name)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """API keys: TENANT_KEY and INTERNAL_KEY."""
    return write_keys(tmp_path / "keys.json")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """PostgreSQL; tests may make databases in it."""
    yield from _running(PostgresServer(tmp_path_factory.mktemp("postgres")))


@pytest.fixture(scope="session")
def migrated(postgres_server: Server) -> Callable[[str], str]:
    """The URL of the database, with the schema of a service in it."""

    @cache
    def url(service: str) -> str:
        migrate(postgres_server.url, service, migrations_of(service))
        return postgres_server.url

    return url


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Valkey, with what earlier tests have left."""
    yield from _running(ValkeyServer(tmp_path_factory.mktemp("valkey")))


@pytest.fixture
async def valkey_url(valkey_server: Server) -> str:
    """The URL of an empty Valkey."""
    client = open_client(valkey_server.url)
    await client.flushall()
    await client.aclose()
    return valkey_server.url


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of it, as services have it."""
    client = open_client(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """NATS, with what earlier tests have left."""
    yield from _running(NatsServer(tmp_path_factory.mktemp("nats")))


@pytest.fixture
async def nats_url(nats_server: Server) -> str:
    """The URL of a NATS without streams."""
    streams = await Streams.connect(nats_server.url, name="test-cleaning")
    found = await streams.js.request("STREAM.NAMES")
    for name in found["streams"] or ():
        await streams.js.request(f"STREAM.DELETE.{name}")
    await streams.close()
    return nats_server.url


@pytest.fixture
async def streams(nats_url: str) -> AsyncIterator[Streams]:
    """A connection to it, with Clarion's streams made and empty."""
    connected = await Streams.connect(nats_url, name="test")
    await declare_streams(connected.js, 1)
    yield connected
    await connected.close()


def _running(server: Server) -> Iterator[Server]:
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())
