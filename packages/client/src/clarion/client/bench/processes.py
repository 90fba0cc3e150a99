"""CPU time and memory of the processes of a local stack."""

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


def resident_mib(stack: Stack) -> dict[str, float]:
    """Resident memory by process in MiB, children included.

    Pages that the processes of PostgreSQL share count once where the kernel tells
    (proportional size), else in each.
    """
    held = {}
    for name, process in stack.state.processes.items():
        if process.pid is not None:
            held[name] = round(_resident(process.pid) / 2**20, 1)
    return dict(sorted(held.items(), key=lambda one: -one[1]))


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The seconds between two readings, the largest first."""
    seconds = {name: after[name] - before.get(name, 0.0) for name in after}
    return dict(sorted(seconds.items(), key=lambda one: -one[1]))


def _resident(pid: int) -> float:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    total = 0.0
    for one in family:
        try:
            if len(family) == 1:
                total += one.memory_info().rss
            else:
                full = one.memory_full_info()
                total += getattr(full, "pss", full.rss)
        except psutil.Error:
            continue
    return total


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
        if children:
            # Of those that have ended, such as the workers of Postgres.
            total += times.children_user + times.children_system
    return total
