"""A real Valkey, and the service on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from clarion.api.ratelimit.v1 import rate_limit_service_pb2_grpc as rpc
from clarion.client.embedded.servers import ValkeyServer
from clarion.ratelimit.app import build
from clarion.ratelimit.settings import Settings
from clarion.runtime.caller import as_tenant
from clarion.runtime.channel import MeshChannel, open_channel
from clarion.runtime.config import Secret
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing.grpc_harness import (
    INTERNAL_KEY,
    TENANT,
    TENANT_KEY,
    write_keys,
)
from clarion.runtime.valkey import open_client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest_asyncio.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    client = open_client(valkey_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys.json")


@pytest_asyncio.fixture
async def port(keys_file: Path, valkey_url: str, redis: Redis) -> AsyncIterator[int]:
    settings = RuntimeSettings(
        api_keys_file=keys_file, listen="127.0.0.1:0", redis_url=valkey_url
    )
    service = Service("ratelimit", settings)
    await build(service, Settings(ratelimit_chunk=3))
    await service.start()
    yield service.port
    await service.stop()


@pytest_asyncio.fixture
async def mesh(port: int) -> AsyncIterator[rpc.RateLimitServiceAsyncStub]:
    """The stub of a neighbour that calls for a tenant."""
    async with channel(port, INTERNAL_KEY) as opened:
        with as_tenant(TENANT):
            yield rpc.RateLimitServiceStub(opened)


@pytest_asyncio.fixture
async def shop(port: int) -> AsyncIterator[rpc.RateLimitServiceAsyncStub]:
    """The stub of that tenant itself."""
    async with channel(port, TENANT_KEY) as opened:
        yield rpc.RateLimitServiceStub(opened)


def channel(port: int, key: str) -> MeshChannel:
    return open_channel(f"127.0.0.1:{port}", key=Secret(key), health_name=None)
