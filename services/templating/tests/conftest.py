"""A real PostgreSQL, and the service on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from clarion.api.templating.v1 import template_service_pb2_grpc as rpc
from clarion.runtime.caller import as_tenant
from clarion.runtime.postgres import open_pool
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing.grpc_harness import TENANT, TENANT_KEY, mesh_channel
from clarion.templating.app import build
from clarion.templating.settings import Settings


@pytest.fixture
def postgres_url(migrated: Callable[[str], str]) -> str:
    """An empty schema."""
    url = migrated("templating")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE templating.templates CASCADE")
    return url


@pytest_asyncio.fixture
async def pool(postgres_url: str) -> AsyncIterator[AsyncConnectionPool]:
    opened = await open_pool(postgres_url, "templating")
    yield opened
    await opened.close()


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
    async with mesh_channel(port) as opened:
        with as_tenant(TENANT):
            yield rpc.TemplateServiceStub(opened)


@pytest_asyncio.fixture
async def shop(port: int) -> AsyncIterator[rpc.TemplateServiceAsyncStub]:
    """The stub of that tenant itself."""
    async with mesh_channel(port, TENANT_KEY) as opened:
        yield rpc.TemplateServiceStub(opened)
