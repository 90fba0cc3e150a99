"""Several services in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clarion.runtime.hosting import command, environment_of
from clarion.runtime.testing import write_keys

PROGRAM = """
from __future__ import annotations
import asyncio, logging, os, sys
from dataclasses import dataclass
from pathlib import Path
from clarion.runtime import logs
from clarion.runtime.entry import until_signal
from clarion.runtime.program import Program
from clarion.runtime.serving import Part
from clarion.runtime.settings import RuntimeSettings

@dataclass(frozen=True, slots=True)
class Settings:
    die: bool = False

async def build(service, settings):
    async def beat():
        logging.getLogger("probe").info("beating")
        if settings.die:
            raise ValueError("heart")
        await asyncio.Event().wait()

    service.add_task("heartbeat", beat)

logs.setup("host")
shared = RuntimeSettings(Path(sys.argv[1]), "127.0.0.1:0")
parts = [
    Part(Program(name, Settings, build), shared, Settings(name == sys.argv[2]))
    for name in ("first", "second", "third")
]
sys.exit(until_signal("host", parts))
"""


@contextmanager
def started(tmp_path, dies: str = "nobody") -> Iterator[subprocess.Popen[str]]:
    keys = write_keys(tmp_path / "keys.json")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(keys), dies],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def events(process: subprocess.Popen[str]) -> Iterator[tuple[str, str]]:
    assert process.stderr is not None
    for text in process.stderr:
        line = json.loads(text)
        yield line["service"], line["event"]


def test_each_says_in_its_own_name_what_it_does(tmp_path):
    with started(tmp_path) as process:
        seen: set[str] = set()
        for service, event in events(process):
            if event == "beating":
                seen.add(service)
            if len(seen) == 3:
                break

    assert seen == {"first", "second", "third"}


def test_the_first_is_stopped_before_those_that_it_may_call(tmp_path):
    with started(tmp_path) as process:
        ready = 0
        stopped = []
        for service, event in events(process):
            ready += event == "service started"
            if event == "service started" and ready == 3:
                process.send_signal(signal.SIGTERM)
            if event == "service stopped":
                stopped.append(service)

        assert process.wait(10) == 0
    assert stopped[0] == "first"
    assert sorted(stopped) == ["first", "second", "third"]


def test_what_one_cannot_do_without_ends_all(tmp_path):
    with started(tmp_path, dies="second") as process:
        seen = list(events(process))

        assert process.wait(10) == 1
    assert ("second", "task died") in seen
    assert {service for service, event in seen if event == "service stopped"} == {
        "first",
        "second",
        "third",
    }


def test_a_variable_with_the_name_of_a_service_is_for_it_alone():
    environ = {
        "CLARION_LISTEN": "127.0.0.1:1",
        "CLARION_PUSH__LISTEN": "127.0.0.1:2",
        "CLARION_SMS__LISTEN": "127.0.0.1:3",
    }

    assert environment_of("push", environ)["CLARION_LISTEN"] == "127.0.0.1:2"
    assert environment_of("inapp", environ)["CLARION_LISTEN"] == "127.0.0.1:1"


def test_everything_wrong_is_said_with_the_service_that_it_is_of(tmp_path, capsys):
    keys = write_keys(tmp_path / "keys.json")
    environ = {
        "CLARION_API_KEYS_FILE": str(keys),
        "CLARION_TRACKING__LISTEN": "nowhere",
        "CLARION_RATELIMIT__DRAIN_SECONDS": "soon",
    }

    assert command(["tracking", "ratelimit", "--check"], environ) == 2

    said = capsys.readouterr().err
    assert "tracking: CLARION_LISTEN has no port" in said
    assert "ratelimit: CLARION_DRAIN_SECONDS is not a number" in said


def test_a_service_that_is_not_installed_is_named(capsys):
    assert command(["routre"], {}) == 2

    assert (
        "no service 'routre' is installed: there are email" in capsys.readouterr().err
    )


@pytest.mark.parametrize("names", [["templating"], ["templating", "ratelimit"]])
def test_check_validates_and_ends(tmp_path, capsys, names):
    keys = write_keys(tmp_path / "keys.json")
    environ = {**os.environ, "CLARION_API_KEYS_FILE": str(keys)}

    assert command([*names, "--check"], environ) == 0
    assert capsys.readouterr().out == "settings are valid\n"
