"""A real PostgreSQL, and the service on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from clarion.api.templating.v1 import template_service_pb2_grpc as rpc
from clarion.client.embedded.servers import PostgresServer
from clarion.runtime.caller import as_tenant
from clarion.runtime.channel import MeshChannel, open_channel
from clarion.runtime.config import Secret
from clarion.runtime.migrations import migrate, migrations_of
from clarion.runtime.postgres import open_pool
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing.grpc_harness import (
    INTERNAL_KEY,
    TENANT,
    TENANT_KEY,
    write_keys,
)
from clarion.templating.app import build
from clarion.templating.settings import Settings


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        url = server.url
        await asyncio.to_thread(migrate, url, "templating", migrations_of("templating"))
        yield url


@pytest.fixture
def postgres_url(migrated_url: str) -> str:
    """An empty schema."""
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("TRUNCATE templating.templates CASCADE")
    return migrated_url


@pytest_asyncio.fixture
async def pool(postgres_url: str) -> AsyncIterator[AsyncConnectionPool]:
    opened = await open_pool(postgres_url, "templating")
    yield opened
    await opened.close()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys.json")


@pytest_asyncio.fixture
async def port(keys_file: Path, postgres_url: str) -> AsyncIterator[int]:
    settings = RuntimeSettings(
        api_keys_file=keys_file, listen="127.0.0.1:0", postgres_url=postgres_url
    )
    service = Service("templating", settings)
    await build(service, Settings())
    await service.start()
    yield service.port
    await service.stop()


@pytest_asyncio.fixture
async def mesh(port: int) -> AsyncIterator[rpc.TemplateServiceAsyncStub]:
    """The stub of a neighbour that calls for a tenant."""
    async with channel(port, INTERNAL_KEY) as opened:
        with as_tenant(TENANT):
            yield rpc.TemplateServiceStub(opened)


@pytest_asyncio.fixture
async def shop(port: int) -> AsyncIterator[rpc.TemplateServiceAsyncStub]:
    """The stub of that tenant itself."""
    async with channel(port, TENANT_KEY) as opened:
        yield rpc.TemplateServiceStub(opened)


def channel(port: int, key: str) -> MeshChannel:
    return open_channel(f"127.0.0.1:{port}", key=Secret(key), health_name=None)
