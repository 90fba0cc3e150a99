"""``topics``: a fan-out to very many, whose router is killed in the middle."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import click
import psutil

from clarion.api.router.v1.notification_pb2 import Notification
from clarion.client.bench.mesh import Mesh
from clarion.client.bench.people import user_id
from clarion.client.bench.report import Report
from clarion.client.building import notification
from clarion.client.client import Client

TOPIC = "everybody"
_LOOK_EVERY = 0.2
_PATIENCE = 120.0
OPTIONS = (
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=100),
        default=100_000,
        show_default=True,
        help="Subscribers.",
    ),
    click.Option(
        ["--kill/--no-kill"],
        default=True,
        show_default=True,
        help="Whether the router is killed (SIGKILL) when a part was decided.",
    ),
    click.Option(
        ["--at", "part"],
        type=click.FloatRange(min=0, max=1),
        default=0.4,
        show_default=True,
        help="The part.",
    ),
)


async def run(*, count: int, kill: bool, part: float) -> Report:
    """A mail to all subscribers of a topic, by a router that is killed at it.

    The providers are sinks. ``seconds`` end with the last subscriber's attempt; the
    memory is the router's: before, the most meanwhile, and after.
    """
    async with Mesh(count) as mesh:
        async with Client(mesh.stack.urls["grpc"], mesh.stack.demo_key) as client:
            await client.subscribe(TOPIC, [user_id(number) for number in range(count)])
            watch = RouterMemory(mesh)
            watching = asyncio.create_task(watch.run(), name="memory of the router")
            before = watch.look()
            began = time.time()
            await client.broadcast(TOPIC, _news())
        killed = None
        if kill:
            await _until(mesh, round(count * part))
            killed = time.time()
            mesh.stack.kill("router")
        await _until(mesh, count)
        tally = await mesh.settle(count)
        after = watch.look()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        ended, silence = await mesh.tracked.sent_until(began)
        taken = sum((await mesh.stop()).values())
    values: dict[str, object] = {
        "subscribers": count,
        "seconds": round(ended - began, 1),
        "killed_after_seconds": round(killed - began, 1) if killed else None,
        "longest_silence_seconds": round(silence, 1),
        "lost": max(count - tally.sent, 0),
        "duplicated": max(taken - tally.sent, 0),
        "router_mib": {"before": before, "most": watch.most, "after": after},
    }
    return Report(values, [f"{name:24} {value}" for name, value in values.items()])


def _news() -> Notification:
    return notification(
        "",
        "news",
        title="News",
        message="Something happened.",
        channels=("email",),
    )


async def _until(mesh: Mesh, decided: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if await mesh.tracked.notifications() >= decided:
            return
        await asyncio.sleep(_LOOK_EVERY)


class RouterMemory:
    """The router's resident memory, in MiB, looked at on and on."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.most = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_EVERY)

    def look(self) -> float:
        """Now; nothing while there is no router."""
        pid = self._mesh.stack.process("router").pid
        held = 0.0
        if pid is not None:
            with suppress(psutil.Error):
                held = round(psutil.Process(pid).memory_info().rss / 2**20, 1)
        self.most = max(self.most, held)
        return held
