"""A real nats-server for tests: free loopback port, own store, killed and restarted."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

_START_LIMIT = 10.0


class NatsProcess:
    """One nats-server with JetStream that syncs every write, like production."""

    def __init__(self, folder: Path, *, max_store: str = "16GB") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self._config = folder / "nats.conf"
        self._config.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"server_name: test-{self.port}\n"
            "max_payload: 2MB\n"
            f"jetstream {{ store_dir: {str(folder / 'store')!r}, "
            f"sync_interval: always, max_file_store: {max_store} }}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to connect; the same after a restart."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts and returns when the port answers; RuntimeError when it does not."""
        log = (self._folder / "nats.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [executable(), "-c", str(self._config)], stdout=log, stderr=log
            )
        until = time.monotonic() + _START_LIMIT
        while self._process.poll() is None and time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        self.stop()
        raise RuntimeError(f"nats-server did not start: see {log.name}")

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, no connection is closed in an orderly way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ends the server; kills it when it hesitates."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def executable() -> str:
    """The nats-server beside this Python, or on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("no nats-server: run `make setup` or put one on PATH")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
