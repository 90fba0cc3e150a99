"""NATS with JetStream that has every acknowledged message on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar

from clarion.client.embedded import binaries, ports
from clarion.client.embedded.child import Command
from clarion.client.embedded.servers.server import Server, exchange

_CONFIG = """\
server_name: clarion
listen: "{host}:{port}"
http: "{host}:{monitor_port}"
max_payload: 2MB
jetstream {{
  store_dir: {store}
  # One node has no quorum to keep what is not on disk yet, so an ack waits for fsync.
  sync_interval: always
}}
"""


_PROCESSORS = "GOMAXPROCS"
"""How many of the machine's processors the server uses at once."""


class NatsServer(Server):
    """A NATS server with JetStream; `monitor_url` serves its HTTP monitoring."""

    name: ClassVar[str] = "nats"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        monitor_port: int | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(folder, port=port, log=log)
        self.monitor_port = monitor_port or ports.free_port()

    @property
    def url(self) -> str:
        return f"nats://{self.address}"

    @property
    def monitor_url(self) -> str:
        """Base URL of /varz, /jsz, /healthz ..."""
        return f"http://{ports.HOST}:{self.monitor_port}"

    @property
    def _config_file(self) -> Path:
        return self.folder / "nats.conf"

    async def prepare(self) -> None:
        await super().prepare()
        self._config_file.write_text(
            _CONFIG.format(
                host=ports.HOST,
                port=self.port,
                monitor_port=self.monitor_port,
                store=json.dumps(str(self.folder / "store")),
            )
        )

    def command(self) -> Command:
        # The rest of the stack is on the same machine, and with more than it needs the
        # server spends a tenth of its time on handing work between them.
        half = max((os.cpu_count() or 1) // 2, 1)
        return Command(
            (str(binaries.nats_server()), "-c", str(self._config_file)),
            environment={_PROCESSORS: str(half), **os.environ},
        )

    async def check(self) -> None:
        # The listener opens after JetStream has recovered its streams.
        greeting = await exchange(self.port, b"", until=b"\r\n")
        if not json.loads(greeting.removeprefix(b"INFO ")).get("jetstream"):
            raise ConnectionError("the server runs without JetStream")
