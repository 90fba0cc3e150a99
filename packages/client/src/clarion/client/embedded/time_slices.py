"""Long time slices for the processes of a stack while the machine is full.

Some fifteen processes on few cores hand work to each other in small pieces. Linux lets
whoever is woken interrupt whoever runs, so on a full machine they interrupt each other
a thousand times a second and work with cold caches, which costs a quarter of all time.
While it is full nothing is gained by that, as everybody waits anyhow: until there is
room again everything runs as SCHED_BATCH with slices of 100 ms, and is hardly ever
interrupted. With time to spare an interruption is what makes a notification fast, and
all is as ever.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import platform
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_FULL = 0.93
"""The part of all cores that is in use from which on slices are long."""
_ROOM = 0.8
"""And below which they are as before."""
_LONG_NANOSECONDS = 100_000_000
_NORMAL, _BATCH = 0, 3
_SYSCALL_NUMBERS = {"x86_64": 314, "aarch64": 274}
"""Of sched_setattr(2), for which the C library has no function."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""struct sched_attr, first version: size, policy, flags, nice, priority, and runtime
(from Linux 6.12 on the slice of a normal process), deadline, period in nanoseconds."""


@dataclass(slots=True)
class Fullness:
    """Whether the machine is full, slow to change its mind. Pure."""

    is_full: bool = False

    def saw(self, busy: float) -> bool:
        """Takes the part of the cores in use since the last look (0..1)."""
        self.is_full = busy >= (_ROOM if self.is_full else _FULL)
        return self.is_full


class Usage:
    """How much of the machine is in use between two looks."""

    def __init__(self) -> None:
        self._idle, self._total = _cpu_seconds()

    def busy(self) -> float:
        """The part of all cores that was in use since the last look (0..1)."""
        idle, total = _cpu_seconds()
        unused, passed = idle - self._idle, total - self._total
        self._idle, self._total = idle, total
        return 1 - unused / passed if passed > 0 else 0.0


async def fit(pids: Callable[[], Iterable[int]]) -> None:
    """Fits the slices of the processes and all that they start, for ever.

    Ends at once where that cannot be done: it is Linux' own, and some containers forbid
    it.
    """
    if sys.platform != "linux" or platform.machine() not in _SYSCALL_NUMBERS:
        return
    usage, fullness = Usage(), Fullness()
    long: set[int] = set()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        is_full = fullness.saw(usage.busy())
        if not (is_full or long):
            continue
        running = set(pids())
        changing = running - long if is_full else running
        try:
            for pid in changing:
                set_slices(pid, is_long=is_full)
        except PermissionError as refused:
            _log.info("time slices stay as they are", extra={"problem": str(refused)})
            return
        long = running if is_full else set()


def set_slices(pid: int, *, is_long: bool) -> None:
    """Sets those of a process and of all that it started; new threads inherit them.

    Raises PermissionError where it is forbidden.
    """
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        for thread in _threads(one.pid):
            _set_slice(thread, is_long)


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:  # it has ended
        return []


def _set_slice(thread: int, is_long: bool) -> None:
    policy, nanoseconds = (_BATCH, _LONG_NANOSECONDS) if is_long else (_NORMAL, 0)
    nice = _nice(thread)
    if nice is None:
        return
    attributes = _ATTRIBUTES.pack(
        _ATTRIBUTES.size, policy, 0, nice, 0, nanoseconds, 0, 0
    )
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYSCALL_NUMBERS[platform.machine()]
    if libc.syscall(number, thread, attributes, 0) != 0:
        error = ctypes.get_errno()
        try:
            raise OSError(error, f"sched_setattr: {os.strerror(error)}")
        except ProcessLookupError:  # it has ended
            return


def _nice(thread: int) -> int | None:
    try:
        return os.getpriority(os.PRIO_PROCESS, thread)
    except ProcessLookupError:
        return None


def _cpu_seconds() -> tuple[float, float]:
    """Of all cores together since the start of the machine: idle, and all."""
    times = psutil.cpu_times()._asdict()
    # Time of guests is in user and nice as well.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return times["idle"] + times.get("iowait", 0.0), total
