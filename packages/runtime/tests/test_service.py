"""A service from start to stop, in this process and as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from clarion.runtime.errors import ConfigError, PreconditionError
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.testing import write_keys
from clarion.runtime.testing.waiting import wait_until

PROGRAM = """
from __future__ import annotations
import asyncio
from dataclasses import dataclass
from clarion.runtime.entry import run
from clarion.runtime.program import Program

@dataclass(frozen=True, slots=True)
class Settings:
    die: bool = False
    stuck: bool = False
    refuse: bool = False

async def build(service, settings):
    async def beat():
        await asyncio.sleep(0.05)
        if settings.die:
            raise ValueError("heart")
        await asyncio.Event().wait()

    async def hang():
        await asyncio.sleep(30)

    if settings.refuse:
        service.channel("recipients")
    service.add_task("heartbeat", beat)
    if settings.stuck:
        service.on_close(hang)

run(Program("probe", Settings, build))
"""


class RecordingConsumer:
    name = "WORK/probe"

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.stopped = asyncio.Event()

    async def start(self) -> None:
        self.events.append("consumer started")

    async def wait(self) -> None:
        await self.stopped.wait()

    async def stop(self, drain: timedelta) -> None:
        self.events.append("consumer stopped")
        self.stopped.set()


@pytest.fixture
def settings(tmp_path):
    keys = write_keys(tmp_path / "keys.json")
    return RuntimeSettings(keys, "127.0.0.1:0", drain=timedelta(seconds=2))


async def test_everything_stops_in_order(settings):
    events: list[str] = []
    service = Service("probe", settings)

    async def close(what: str) -> None:
        events.append(f"{what} closed, serving: {service.health.serving}")

    async def task() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            events.append("task stopped")

    service.on_close(lambda: close("first"))
    service.on_close(lambda: close("second"))
    service.add_consumer(RecordingConsumer(events))
    service.add_task("task", task)
    await service.start()
    await wait_until(lambda: service.health.serving)
    await service.stop()

    assert events == [
        "consumer started",
        "consumer stopped",
        "task stopped",
        "second closed, serving: False",
        "first closed, serving: False",
    ]


async def test_those_who_watch_health_do_not_hold_up_a_stop(settings):
    service = Service("probe", settings)
    await service.start()
    await wait_until(lambda: service.health.serving)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        watch = aiter(HealthStub(channel).Watch(HealthCheckRequest()))
        assert (await anext(watch)).status == HealthCheckResponse.SERVING

        async with asyncio.timeout(1.5):
            await service.stop()

        seen = [change.status async for change in watch]
    assert seen == [HealthCheckResponse.NOT_SERVING]


async def test_a_task_that_ends_by_itself_is_a_failure(settings, caplog):
    service = Service("probe", settings)

    async def end() -> None:
        return None

    service.add_task("reader", end)
    await service.start()

    assert await asyncio.wait_for(service.failed(), 5) == "reader"
    await service.stop()
    assert "task died" in caplog.text


async def test_a_close_that_fails_does_not_keep_others_open(settings):
    closed: list[str] = []
    service = Service("probe", settings)

    async def close() -> None:
        closed.append("yes")

    async def fail() -> None:
        raise ConnectionError

    service.on_close(close)
    service.on_close(fail)
    await service.start()
    await service.stop()

    assert closed == ["yes"]


async def test_what_was_not_configured_is_named(settings):
    service = Service("probe", settings)

    with pytest.raises(ConfigError, match="CLARION_RECIPIENTS_TARGET"):
        service.channel("recipients")
    with pytest.raises(ConfigError, match="CLARION_REDIS_URL"):
        await service.redis()
    with pytest.raises(PreconditionError, match="connect_streams"):
        _ = service.streams
    await service.stop()


async def test_a_port_that_is_taken_is_an_error(settings, tmp_path):
    first = Service("probe", settings)
    await first.start()
    listen = f"127.0.0.1:{first.port}"
    second = Service("probe", RuntimeSettings(settings.api_keys_file, listen))

    with pytest.raises(OSError, match="cannot listen"):
        await second.start()
    await second.stop()
    await first.stop()


@contextmanager
def started(tmp_path, *arguments: str, **environ: str) -> Iterator[subprocess.Popen]:
    keys = write_keys(tmp_path / "keys.json")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={
            **os.environ,
            "CLARION_API_KEYS_FILE": str(keys),
            "CLARION_LISTEN": "127.0.0.1:0",
            **environ,
        },
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen, event: str) -> dict[str, object]:
    assert process.stderr is not None
    for text in process.stderr:
        line = json.loads(text)
        if line["event"] == event:
            return line
    raise AssertionError(f"{event} was never logged")


def test_sigterm_ends_it_with_0(tmp_path):
    with started(tmp_path) as process:
        until(process, "service started")
        process.send_signal(signal.SIGTERM)
        until(process, "service stopped")

        assert process.wait(10) == 0


def test_a_task_that_dies_ends_it_with_1_and_is_named(tmp_path):
    with started(tmp_path, CLARION_DIE="true") as process:
        line = until(process, "task died")
        failed = until(process, "service failed")

        assert line["task"] == failed["cause"] == "heartbeat"
        assert "ValueError: heart" in str(line["exception"])
        assert process.wait(10) == 1


def test_a_second_signal_ends_it_at_once(tmp_path):
    with started(tmp_path, CLARION_STUCK="true") as process:
        until(process, "service started")
        process.send_signal(signal.SIGTERM)
        until(process, "signal received: stopping")
        process.send_signal(signal.SIGINT)

        assert process.wait(2) == 128 + signal.SIGINT


def test_wrong_settings_end_it_with_2_and_all_problems(tmp_path):
    with started(tmp_path, CLARION_DIE="maybe", CLARION_LOG_LEVEL="LOUD") as process:
        _, errors = process.communicate(timeout=10)

        assert process.returncode == 2
        assert "CLARION_DIE" in errors
        assert "CLARION_LOG_LEVEL" in errors


def test_a_missing_neighbour_ends_it_with_2(tmp_path):
    with started(tmp_path, CLARION_REFUSE="true") as process:
        _, errors = process.communicate(timeout=10)

        assert process.returncode == 2
        assert "CLARION_RECIPIENTS_TARGET is not set" in errors


def test_check_validates_and_ends(tmp_path):
    with started(tmp_path, "--check") as process:
        output, _ = process.communicate(timeout=10)

        assert (process.returncode, output) == (0, "settings are valid\n")


def test_a_collector_that_is_not_there_does_not_hold_up_the_end(tmp_path):
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with started(tmp_path, **endpoint) as process:
        until(process, "service started")
        process.send_signal(signal.SIGTERM)

        assert process.wait(6) == 0
