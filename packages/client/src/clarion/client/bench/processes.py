"""CPU time of the processes of a local stack."""

from __future__ import annotations

import os
from collections.abc import Mapping

import psutil

from clarion.client.embedded import Stack


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """User and system seconds by process, children included; ``load`` is this one."""
    used = {"load": _seconds(os.getpid(), children=False)}
    for name, process in stack.state.processes.items():
        if process.pid is not None:
            used[name] = _seconds(process.pid, children=True)
    return used


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The seconds between two readings, the largest first."""
    seconds = {name: after[name] - before.get(name, 0.0) for name in after}
    return dict(sorted(seconds.items(), key=lambda one: -one[1]))


def _seconds(pid: int, *, children: bool) -> float:
    process = psutil.Process(pid)
    family = [process, *(process.children(recursive=True) if children else ())]
    total = 0.0
    for one in family:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
