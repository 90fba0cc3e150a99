"""Valkey with an append-only file."""

from __future__ import annotations

from typing import ClassVar

from clarion.client.embedded import binaries, ports
from clarion.client.embedded.child import Command
from clarion.client.embedded.servers.server import Server, exchange


class ValkeyServer(Server):
    """A Valkey server; at most one second of writes is lost in a power cut."""

    name: ClassVar[str] = "valkey"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def command(self) -> Command:
        options = {
            "port": str(self.port),
            "bind": ports.HOST,
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            # The append-only file holds everything; snapshots would only cost forks.
            "save": "",
            "daemonize": "no",
        }
        arguments = [part for k, v in options.items() for part in (f"--{k}", v)]
        return Command((str(binaries.valkey_server()), *arguments))

    async def check(self) -> None:
        # While it loads its file it answers -LOADING.
        answer = await exchange(self.port, b"PING\r\n", until=b"\r\n")
        if answer != b"+PONG\r\n":
            raise ConnectionError(answer.decode(errors="replace").strip())
