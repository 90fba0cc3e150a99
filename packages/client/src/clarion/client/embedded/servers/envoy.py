"""Envoy, started from a template of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from clarion.client.embedded import binaries, edge, ports
from clarion.client.embedded.child import Command
from clarion.client.embedded.servers.server import Server, exchange


class EnvoyServer(Server):
    """Envoy on ``port``, configured by a template (see clarion.client.embedded.edge).

    Always filled in: ``listen_port`` and ``admin_port``. The others, such as
    ``router_port`` and ``descriptor_path``, come from ``values``.
    """

    name: ClassVar[str] = "envoy"

    def __init__(
        self,
        folder: Path,
        *,
        template: Path,
        values: Mapping[str, str | int],
        port: int | None = None,
        admin_port: int | None = None,
        concurrency: int = 1,
        log: Path | None = None,
    ) -> None:
        super().__init__(folder, port=port, log=log)
        self.admin_port = admin_port or ports.free_port()
        self._template = template
        self._values = values
        self._concurrency = concurrency

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def _config_file(self) -> Path:
        return self.folder / "envoy.yaml"

    async def prepare(self) -> None:
        await super().prepare()
        own = {"listen_port": self.port, "admin_port": self.admin_port}
        text = edge.render(self._template.read_text(), {**self._values, **own})
        self._config_file.write_text(text)

    def command(self) -> Command:
        return Command(
            (
                *(str(binaries.envoy()), "-c", str(self._config_file)),
                *("--concurrency", str(self._concurrency)),
                # Hot restart is not used, and its shared memory would stay behind.
                "--disable-hot-restart",
                *("--log-level", "warning"),
            )
        )

    async def check(self) -> None:
        request = b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
        status = await exchange(self.admin_port, request, until=b"\r\n")
        if status.split(b" ")[1] != b"200":
            raise ConnectionError(status.decode(errors="replace").strip())
