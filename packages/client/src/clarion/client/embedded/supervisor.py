"""Keeps processes running: start in order of need, restart with backoff, stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clarion.client.embedded import log_files, time_slices
from clarion.client.embedded.child import Child
from clarion.client.embedded.errors import StartError
from clarion.client.embedded.processes import Process, Row, Step, Tier
from clarion.client.embedded.state import ProcessState

_log = logging.getLogger(__name__)

_POLL_STARTING_SECONDS = 0.03
_POLL_READY_SECONDS = 2.0
_CHECK_SECONDS = 2.0


@dataclass(slots=True)
class Backoff:
    """The wait before a restart: it doubles, and a healthy while resets it."""

    first: float = 0.2
    limit: float = 10.0
    reset_after: float = 30.0
    _next: float = field(default=0.0, init=False)

    def after(self, healthy_seconds: float) -> float:
        """Seconds to wait after a run that was ready for so long."""
        if healthy_seconds >= self.reset_after or not self._next:
            self._next = self.first
        wait, self._next = self._next, min(self._next * 2, self.limit)
        return wait


@dataclass(slots=True)
class _Kept:
    process: Process
    seen: ProcessState
    was_ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set from the first time on; what needs it does not wait again."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while it is ready."""
    child: Child | None = None
    ready_since: float | None = None
    told_pid: int | None = None


class Supervisor:
    """Owns the processes of a table, which must not outlive it.

    To be started in the main thread: Linux ends a child with the thread it came from.
    """

    def __init__(
        self,
        table: Sequence[Row],
        logs: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._logs = logs
        self._on_change = on_change
        self._backoff = backoff
        self._steps = [row for row in table if isinstance(row, Step)]
        self._done = {step.name: asyncio.Event() for step in self._steps}
        self._kept = {
            row.name: _Kept(row, ProcessState("waiting", port=row.port))
            for row in table
            if isinstance(row, Process)
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._problems: dict[str, str] = {}

    @property
    def states(self) -> dict[str, ProcessState]:
        """Every process as it is now."""
        return {name: kept.seen for name, kept in self._kept.items()}

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self._logs / f"{name}.log"

    def start(self) -> None:
        """Starts everything, each as soon as what it needs is ready."""
        for name in self._kept:
            log_files.rotate(self.log(name))
        jobs = {kept.process.name: self._keep(kept) for kept in self._kept.values()}
        jobs |= {step.name: self._do(step) for step in self._steps}
        jobs["logs"] = log_files.bound(map(self.log, self._kept))
        jobs["time slices"] = time_slices.fit(self._pids)
        self._tasks = [asyncio.create_task(job, name=n) for n, job in jobs.items()]
        for task in self._tasks:
            task.add_done_callback(self._on_end)

    async def wait_ready(self, timeout: float) -> None:
        """Waits until all are ready at once; StartError says which are not, and why."""
        events = [kept.ready for kept in self._kept.values()] + [*self._done.values()]
        try:
            async with asyncio.timeout(timeout):
                while not all(event.is_set() for event in events):
                    await asyncio.gather(*(event.wait() for event in events))
        except TimeoutError:
            raise StartError(self._why_not_ready(timeout)) from None

    def kill(self, name: str) -> None:
        """Ends a process as a crash would; it is restarted, see `wait_ready`."""
        kept = self._kept[name]
        if kept.child is not None:
            kept.child.kill()
            kept.ready.clear()

    async def stop(self) -> None:
        """Stops the processes tier by tier, each in good order."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for tier in sorted(Tier, reverse=True):
            await asyncio.gather(
                *(
                    self._stop_one(kept)
                    for kept in self._kept.values()
                    if kept.process.tier is tier
                )
            )

    def kill_all(self) -> None:
        """Ends all at once; a `stop` under way then ends soon."""
        for kept in self._kept.values():
            if kept.child is not None:
                kept.child.kill()

    def _pids(self) -> list[int]:
        pids = (kept.seen.pid for kept in self._kept.values())
        return [pid for pid in pids if pid is not None]

    async def _stop_one(self, kept: _Kept) -> None:
        if kept.child is not None:
            await kept.child.stop(kept.process.stop_seconds)
        kept.child = None
        kept.process.clean_up()
        self._say(kept, "stopped")

    async def _needs(self, row: Row) -> None:
        for name in row.needs:
            event = self._done.get(name)
            await (event or self._kept[name].was_ready).wait()

    async def _do(self, step: Step) -> None:
        await self._needs(step)
        backoff = self._backoff()
        while True:
            try:
                await step.run()
            except Exception as exc:
                self._problems[step.name] = f"{type(exc).__name__}: {exc}"
                _log.warning("step failed", extra={"step": step.name}, exc_info=True)
            else:
                self._problems.pop(step.name, None)
                self._done[step.name].set()
                return
            await asyncio.sleep(backoff.after(0))

    async def _keep(self, kept: _Kept) -> None:
        await self._needs(kept.process)
        backoff = self._backoff()
        while True:
            healthy_seconds = 0.0
            try:
                problem = await self._run_once(kept)
            except Exception as exc:  # it could not even be started: the same to us
                problem = str(exc) or type(exc).__name__
            if kept.ready_since is not None:
                healthy_seconds = time.monotonic() - kept.ready_since
            wait = backoff.after(healthy_seconds)
            kept.child, kept.ready_since, kept.seen.pid = None, None, None
            _log.warning(
                "process ended",
                extra={
                    "program": kept.process.name,
                    "problem": problem,
                    "restart_seconds": wait,
                },
            )
            self._say(kept, "crashed", problem)
            await asyncio.sleep(wait)
            kept.seen.restarts += 1

    async def _run_once(self, kept: _Kept) -> str:
        """Runs the process to its end; why it ended."""
        process = kept.process
        self._say(kept, "starting")
        await process.prepare()
        child = kept.child = Child.spawn(process.command(), self.log(process.name))
        kept.seen.pid = child.pid
        self._say(kept, "starting")
        watching = asyncio.create_task(self._watch(kept), name=f"watch {process.name}")
        try:
            status = await child.wait()
        finally:
            kept.ready.clear()
            # Not awaited with its CancelledError suppressed: that would hide our own.
            while not watching.done():
                watching.cancel()
                await asyncio.wait({watching}, timeout=_CHECK_SECONDS)
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    async def _watch(self, kept: _Kept) -> None:
        while True:
            try:
                # Not wait_for: in Python 3.11 it loses a cancel that meets the answer,
                # and a process that was killed would never be started again.
                async with asyncio.timeout(_CHECK_SECONDS):
                    await kept.process.check()
            except Exception as exc:  # whatever a broken process makes a client raise
                kept.ready.clear()
                state = "starting" if kept.ready_since is None else "unhealthy"
                self._say(kept, state, f"{type(exc).__name__}: {exc}")
            else:
                if kept.ready_since is None:
                    kept.ready_since = time.monotonic()
                # One that was killed meanwhile answered with its last breath.
                if kept.child is not None and kept.child.returncode is None:
                    kept.was_ready.set()
                    kept.ready.set()
                    self._say(kept, "ready")
            is_ready = kept.seen.state == "ready"
            pause = _POLL_READY_SECONDS if is_ready else _POLL_STARTING_SECONDS
            await asyncio.sleep(pause)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            name = task.get_name()
            self._problems[name] = f"no longer kept running: {error!r}"
            _log.error("task died", extra={"task_name": name}, exc_info=error)

    def _say(self, kept: _Kept, state: str, problem: str = "") -> None:
        seen = kept.seen
        if kept.child is None:
            seen.pid = None
        changed = seen.state != state or seen.pid != kept.told_pid
        seen.state, seen.problem, kept.told_pid = state, problem, seen.pid
        if changed:
            self._on_change()

    def _why_not_ready(self, timeout: float) -> str:
        lines = [f"Not ready after {timeout:g} s:"]
        lines += [
            f"  {name}: {problem}" for name, problem in sorted(self._problems.items())
        ]
        for name, kept in self._kept.items():
            if kept.ready.is_set():
                continue
            seen, needs = kept.seen, ", ".join(kept.process.needs)
            why = seen.problem or (f"needs {needs}" if seen.state == "waiting" else "")
            lines.append(f"  {name}: {seen.state}, {seen.restarts} restarts. {why}")
            last = log_files.tail(self.log(name), 8)
            lines += [f"    | {line}" for line in last.splitlines()]
        return "\n".join(lines)
