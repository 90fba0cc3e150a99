from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clarion.client.embedded.child import Command
from clarion.client.embedded.errors import StartError
from clarion.client.embedded.processes import Process, Step, Tier
from clarion.client.embedded.supervisor import Backoff, Supervisor


async def _healthy() -> None:
    pass


def _row(name: str, script: str, **more) -> Process:
    command = Command(("/bin/sh", "-c", script))
    more.setdefault("check", _healthy)
    return Process(name, more.pop("tier", Tier.SERVICE), lambda: command, **more)


def _marks(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "marks"


def test_backoff_doubles_up_to_its_limit():
    backoff = Backoff()
    waits = [backoff.after(0) for _ in range(8)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_backoff_begins_anew_after_a_healthy_while():
    backoff = Backoff()
    waits = [backoff.after(seconds) for seconds in (0, 0, 29, 30, 0)]
    assert waits == [0.2, 0.4, 0.8, 0.2, 0.4]


async def test_process_that_crashes_is_reported_and_restarted(
    tmp_path: Path, marks: Path, wait_until, caplog: pytest.LogCaptureFixture
):
    row = _row("dummy", f"echo started >> {marks}; exit 3")
    supervisor = Supervisor([row], tmp_path, backoff=lambda: Backoff(0.01, 0.02))
    supervisor.start()
    await wait_until(lambda: len(_marks(marks)) >= 3)
    await supervisor.stop()
    assert supervisor.states["dummy"].restarts >= 2
    assert caplog.records[0].getMessage() == "process ended"
    assert caplog.records[0].problem == "exit status 3"


async def test_process_that_is_killed_comes_back(tmp_path: Path):
    row = _row("dummy", "exec sleep 100")
    supervisor = Supervisor([row], tmp_path, backoff=lambda: Backoff(0.01, 0.02))
    supervisor.start()
    await supervisor.wait_ready(5)
    first = supervisor.states["dummy"].pid
    supervisor.kill("dummy")
    await supervisor.wait_ready(5)
    assert supervisor.states["dummy"].restarts == 1
    assert supervisor.states["dummy"].pid not in (None, first)
    await supervisor.stop()


async def test_process_starts_when_what_it_needs_is_ready(tmp_path: Path, marks: Path):
    async def step() -> None:
        with marks.open("a") as stream:
            stream.write("step\n")

    async def first_is_there() -> None:
        assert "first" in _marks(marks)

    table = [
        _row("second", f"echo second >> {marks}; exec sleep 100", needs=("step",)),
        _row("first", f"echo first >> {marks}; exec sleep 100", check=first_is_there),
        Step("step", step, needs=("first",)),
    ]
    supervisor = Supervisor(table, tmp_path / "logs")
    supervisor.start()
    await supervisor.wait_ready(5)
    await supervisor.stop()
    assert _marks(marks)[:2] == ["first", "step"]


async def test_step_that_fails_is_repeated(tmp_path: Path):
    tries = 0

    async def step() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("not yet")

    supervisor = Supervisor(
        [Step("step", step)], tmp_path, backoff=lambda: Backoff(0.01, 0.02)
    )
    supervisor.start()
    await supervisor.wait_ready(5)
    await supervisor.stop()
    assert tries == 3


async def test_processes_stop_from_the_edge_inwards(
    tmp_path: Path, marks: Path, wait_until
):
    def row(name: str, tier: Tier) -> Process:
        script = (
            f"trap 'echo {name} >> {marks}; exit 0' TERM; touch {tmp_path}/{name};"
            " while true; do sleep 0.02; done"
        )
        return _row(name, script, tier=tier)

    table = [row("server", Tier.SERVER), row("service", Tier.SERVICE)]
    supervisor = Supervisor([*table, row("edge", Tier.EDGE)], tmp_path / "logs")
    supervisor.start()
    names = ["edge", "service", "server"]
    await wait_until(lambda: all((tmp_path / name).exists() for name in names))
    await supervisor.stop()
    assert _marks(marks) == names


async def test_process_that_ignores_its_signal_is_killed(tmp_path: Path, runs):
    row = _row(
        "deaf",
        f"trap '' TERM; echo set > {tmp_path}/set; while true; do sleep 0.02; done",
        check=_is_there(tmp_path / "set"),
        stop_seconds=0.1,
    )
    supervisor = Supervisor([row], tmp_path / "logs")
    supervisor.start()
    await supervisor.wait_ready(5)
    pid = supervisor.states["deaf"].pid
    assert pid is not None
    await supervisor.stop()
    assert not runs(pid)


def _is_there(path: Path) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        assert _marks(path) == ["set"]

    return check


async def test_kill_all_ends_a_stop_that_takes_long(tmp_path: Path, runs):
    row = _row(
        "deaf",
        f"trap '' TERM; echo set > {tmp_path}/set; while true; do sleep 0.02; done",
        check=_is_there(tmp_path / "set"),
        stop_seconds=60,
    )
    supervisor = Supervisor([row], tmp_path / "logs")
    supervisor.start()
    await supervisor.wait_ready(5)
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    supervisor.kill_all()
    await asyncio.wait_for(stopping, 5)


async def test_not_ready_names_the_process_and_shows_its_log(tmp_path: Path):
    row = _row("broken", "echo what is wrong; exit 1", check=_never)
    supervisor = Supervisor([row], tmp_path)
    supervisor.start()
    with pytest.raises(
        StartError, match=r"broken: (crashed|starting, \d)[\s\S]*what is wrong"
    ):
        await supervisor.wait_ready(0.3)
    await supervisor.stop()


async def _never() -> None:
    raise ConnectionError("never")


async def test_program_that_is_not_there_is_reported(tmp_path: Path, wait_until):
    row = Process("gone", Tier.SERVICE, lambda: Command(("/does/not/exist",)), _healthy)
    supervisor = Supervisor([row], tmp_path)
    supervisor.start()
    await wait_until(lambda: supervisor.states["gone"].state == "crashed")
    assert "/does/not/exist" in supervisor.states["gone"].problem
    await supervisor.stop()


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from clarion.client.embedded.child import Command
from clarion.client.embedded.processes import Process, Tier
from clarion.client.embedded.servers import PostgresServer
from clarion.client.embedded.supervisor import Supervisor

async def check():
    pass

async def main(folder):
    sleep = Command(("/bin/sleep", "100"))
    table = [Process("dummy", Tier.SERVICE, lambda: sleep, check)]
    supervisor = Supervisor(table, folder / "logs")
    supervisor.start()
    await supervisor.wait_ready(10)
    async with PostgresServer(folder / "postgres") as postgres:
        print(supervisor.states["dummy"].pid, postgres.pid, flush=True)
        await asyncio.sleep(100)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
async def test_no_process_outlives_a_supervisor_that_is_killed(
    tmp_path: Path, runs, wait_until
):
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISOR, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    pids = [int(pid) for pid in (await supervisor.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(map(runs, pids))
    os.kill(supervisor.pid, signal.SIGKILL)
    await supervisor.wait()
    await wait_until(lambda: not any(map(runs, pids)))
    # It was told to end, not killed: it removed its shared memory.
    assert not (tmp_path / "postgres" / "data" / "postmaster.pid").exists()
