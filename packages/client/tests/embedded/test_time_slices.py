from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from clarion.client.embedded.time_slices import Fullness, Usage, set_slices

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux' own scheduler")

_THREADS = """
import subprocess, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
child.communicate(b"\\n")
"""


@pytest.fixture
def family() -> Iterator[list[int]]:
    with subprocess.Popen(
        [sys.executable, "-c", _THREADS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield [process.pid, int(process.stdout.readline())]
        finally:
            process.communicate("\n")


def _policies(pids: list[int]) -> set[int]:
    return {
        os.sched_getscheduler(int(thread))
        for pid in pids
        for thread in os.listdir(f"/proc/{pid}/task")
    }


def test_a_process_its_threads_and_its_children_change_and_change_back(
    family: list[int],
) -> None:
    assert len(os.listdir(f"/proc/{family[0]}/task")) == 2
    set_slices(family[0], is_long=True)
    assert _policies(family) == {os.SCHED_BATCH}
    set_slices(family[0], is_long=False)
    assert _policies(family) == {os.SCHED_OTHER}


def test_the_priority_that_a_process_has_stays(family: list[int]) -> None:
    os.setpriority(os.PRIO_PROCESS, family[0], 5)
    set_slices(family[0], is_long=True)
    assert os.getpriority(os.PRIO_PROCESS, family[0]) == 5


def test_a_process_that_has_ended_is_no_fault() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    set_slices(process.pid, is_long=True)


def test_slices_are_long_from_a_full_machine_until_there_is_room() -> None:
    fullness = Fullness()
    seen = [fullness.saw(busy) for busy in (0.5, 0.9, 0.95, 0.85, 0.79, 0.9, 1.0)]
    assert seen == [False, False, True, True, False, False, True]


def test_usage_tells_a_busy_core() -> None:
    usage = Usage()
    before = os.times()
    while os.times().user - before.user < 0.05:
        pass
    assert 0 < usage.busy() <= 1
