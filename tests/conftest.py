"""One stack for all tests that need the whole mesh: starting it is dear."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from clarion.client.embedded import Stack
from clarion.client.embedded.collector import Collector

HERE = Path(__file__).parent
TELEMETRY = {
    # Only what a caller asks to be traced is.
    "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_METRIC_EXPORT_INTERVAL": "2000",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What starts a stack keeps it in one loop, so its tests run in that one, too.
    shared = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        if {"stack", "fault_stack"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(shared, append=False)
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        import os

        for name in os.environ:
            if name.startswith(("CLARION_", "OTEL_")):
                patch.delenv(name)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(
    _clean_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
    collector: Collector,
) -> AsyncIterator[Stack]:
    data = tmp_path_factory.mktemp("stack")
    settings = TELEMETRY | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    async with Stack(data, settings=settings) as stack:
        yield stack
