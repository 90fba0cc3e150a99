"""How the supervisor learns whether a process serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clarion.client.embedded.environment import read_sandbox
from clarion.client.embedded.ports import HOST
from clarion.client.embedded.servers.server import can_connect

_CHECK = "/grpc.health.v1.Health/Check"
# HealthCheckRequest without a service name, and HealthCheckResponse{status: SERVING}:
# two fixed messages are not worth the import of their generated code.
_WHOLE_PROCESS = b""
_SERVING = b"\x08\x01"
_CALL_SECONDS = 1.5


async def check_grpc(port: int) -> None:
    """Raises unless the service on the port says SERVING."""
    # First of all, because it is cheap while the process still starts.
    await can_connect(port)

    import grpc.aio

    # A channel of its own: a kept one would wait longer and longer after failures.
    async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
        check: Any = channel.unary_unary(_CHECK)
        answer = await check(_WHOLE_PROCESS, timeout=_CALL_SECONDS)
    if answer != _SERVING:
        raise ConnectionError("NOT_SERVING: it waits for something it depends on")


async def check_sandbox(folder: Path, control_port: int) -> None:
    """Raises unless the sandbox has written sandbox.json and listens."""
    read_sandbox(folder)
    await can_connect(control_port)
