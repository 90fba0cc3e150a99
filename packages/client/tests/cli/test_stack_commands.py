from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from clarion.client.embedded.state import StateFile

pytestmark = pytest.mark.integration

SERVERS_ALONE = ("--services", "none", "--no-sandbox", "--no-edge")


class Cli:
    def __init__(self, data: Path) -> None:
        self.data = data

    def arguments(self, *arguments: str) -> list[str]:
        module = [sys.executable, "-m", "clarion.client", *arguments]
        return [*module, "--data", str(self.data)]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.arguments(*arguments), capture_output=True, text=True, timeout=60
        )

    def status(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self("status", "--json").stdout)
        return content


@pytest.fixture
def clarion(tmp_path: Path) -> Iterator[Cli]:
    data = tmp_path / "data"
    yield Cli(data)
    state = StateFile(data).read_running()
    if state is not None and state.pid is not None:
        os.kill(state.pid, signal.SIGKILL)


def _wait_until(condition: Callable[[], object], timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _pids(status: dict[str, Any]) -> list[int]:
    return [status["pid"], *(one["pid"] for one in status["processes"].values())]


def test_detached_stack_is_shown_and_stopped(clarion: Cli):
    up = clarion("up", "--detach", *SERVERS_ALONE)
    assert (up.returncode, up.stderr) == (0, "")
    status = clarion("status")
    assert status.returncode == 0
    assert all(name in status.stdout for name in ("nats", "postgres", "valkey"))
    pids = _pids(clarion.status())
    down = clarion("down")
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    _wait_until(lambda: not any(map(_runs, pids)))
    assert clarion("status").returncode == 3


def test_second_up_says_that_it_already_runs(clarion: Cli):
    clarion("up", "--detach", *SERVERS_ALONE)
    for more in ((), ("--detach",)):
        again = clarion("up", *more, *SERVERS_ALONE)
        assert again.returncode == 1
        assert "already runs" in again.stderr


def test_logs_shows_the_lines_of_a_process(clarion: Cli):
    clarion("up", "--detach", *SERVERS_ALONE)
    one = clarion("logs", "nats")
    assert "Server is ready" in one.stdout
    every = clarion("logs")
    assert {"nats", "postgres", "supervisor", "valkey"} <= {
        line.split("|")[0].strip() for line in every.stdout.splitlines()
    }
    unknown = clarion("logs", "nast")
    assert unknown.returncode == 1
    assert "There are: nats, postgres" in unknown.stderr


def test_ctrl_c_stops_everything(clarion: Cli):
    up = subprocess.Popen(
        clarion.arguments("up", *SERVERS_ALONE), stdout=subprocess.PIPE, text=True
    )
    assert up.stdout is not None
    with up.stdout:
        assert up.stdout.readline().startswith("ready in ")
        pids = _pids(clarion.status())
        up.send_signal(signal.SIGINT)
        assert up.wait(timeout=20) == 0
    _wait_until(lambda: not any(map(_runs, pids)))


def test_no_process_outlives_a_stack_that_is_killed(clarion: Cli):
    clarion("up", "--detach", *SERVERS_ALONE)
    pids = _pids(clarion.status())
    os.kill(pids[0], signal.SIGKILL)
    _wait_until(lambda: not any(map(_runs, pids)))
    assert clarion("status").returncode == 3
    assert clarion("up", "--detach", *SERVERS_ALONE).returncode == 0


def test_nothing_runs_is_no_error_for_down(clarion: Cli):
    down = clarion("down")
    assert (down.returncode, down.stdout) == (0, "Nothing runs.\n")


def test_up_names_an_unknown_service(clarion: Cli):
    up = clarion("up", "--services", "routre")
    assert up.returncode == 2
    assert "routre" in up.stderr
