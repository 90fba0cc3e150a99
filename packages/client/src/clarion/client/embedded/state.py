"""What a stack tells about itself: ``stack.json``, and the lock that it holds."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from clarion.client.embedded.credentials import write_private
from clarion.client.embedded.errors import AlreadyRunningError

DEFAULT_DATA = Path(".clarion")


@dataclass(slots=True)
class ProcessState:
    """One process as it is now."""

    state: str
    """waiting, starting, ready, unhealthy, crashed or stopped."""
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    problem: str = ""
    """Why it is not ready, or why it ended last time."""


@dataclass(slots=True)
class StackState:
    """The content of ``stack.json``. It holds passwords, so only its owner reads it."""

    pid: int | None = None
    """The supervisor; None when the stack was stopped in good order."""
    ready: bool = False
    started_time: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    processes: dict[str, ProcessState] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    """Kept from one start to the next, so that URLs stay the same."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class StateFile:
    """``stack.json`` in a data folder."""

    def __init__(self, data: Path) -> None:
        self.path = data / "stack.json"
        self.lock = Lock(data / "stack.lock")

    def read(self) -> StackState:
        """The last state; an empty one where there is none."""
        try:
            content = json.loads(self.path.read_text())
        except FileNotFoundError:
            return StackState()
        processes = {
            name: ProcessState(**one) for name, one in content.pop("processes").items()
        }
        return StackState(**content, processes=processes)

    def read_running(self) -> StackState | None:
        """The state of the stack that runs; None when none does."""
        return self.read() if self.lock.is_held() else None

    def write(self, state: StackState) -> None:
        """Replaces the file at once."""
        write_private(self.path, json.dumps(state.as_json(), indent=1) + "\n")


class Lock:
    """A lock that the kernel lets go when its holder ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[str] | None = None

    def __enter__(self) -> Lock:
        """Raises AlreadyRunningError when another process holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        stream = self._path.open("a")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            raise AlreadyRunningError(
                f"A stack already runs on {self._path.parent}. See `clarion status`, "
                "stop it with `clarion down`, or give another folder with --data."
            ) from None
        self._stream = stream
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def is_held(self) -> bool:
        """Whether a process holds it now."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
