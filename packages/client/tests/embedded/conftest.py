from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil
import pytest


@pytest.fixture
def wait_until() -> Callable[..., object]:
    async def wait(condition: Callable[[], object], timeout: float = 10) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def runs() -> Callable[[int], bool]:
    def process_runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return process_runs
