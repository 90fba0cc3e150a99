"""``peers``: the same job by what people use instead, in the same run."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from clarion.client.bench.celery_peer import CeleryPeer
from clarion.client.bench.flood import Flood
from clarion.client.bench.http_sink import HttpSink
from clarion.client.bench.mesh import Mesh, Spent
from clarion.client.bench.report import Report
from clarion.client.bench.senders import Senders
from clarion.client.bench.traffic import Traffic
from clarion.client.demo.arrivals import Arrivals
from clarion.client.embedded.errors import MissingProgramError

_NEEDED = ("celery", "apprise", "jinja2")
OPTIONS = (
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=0.5),
        default=20.0,
        show_default=True,
        help="How long to send to the mesh.",
    ),
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=10),
        default=10_000,
        show_default=True,
        help="Notifications of each peer.",
    ),
    click.Option(
        ["--window"],
        type=click.IntRange(min=10),
        default=2000,
        show_default=True,
        help="About how many wait at once, in the mesh and in the peers.",
    ),
    click.Option(
        ["--users"],
        type=click.IntRange(min=1),
        default=100_000,
        show_default=True,
        help="How many recipients there are.",
    ),
)


async def run(*, seconds: float, count: int, window: int, users: int) -> Report:
    """The mesh against Celery with Redis and Postgres, and with Apprise sending.

    Celery: a task a channel that reads the wishes, counts the limit, renders and
    writes a result row; two workers. Rates are of closed loops, times of a fixed rate
    that both hold. Without sending it is held against the mesh with
    sinks, sending by Apprise to a local HTTP server against the mesh with the sandbox.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingProgramError(
            f"the peers are not installed ({', '.join(missing)}): "
            "pip install 'clarion-client[bench]'"
        )
    with tempfile.TemporaryDirectory() as folder:
        return await _measure(Path(folder), seconds, count, window, users)


async def _measure(
    folder: Path, seconds: float, count: int, window: int, users: int
) -> Report:
    async with Mesh(users) as mesh:
        spent = await _mesh(mesh, seconds, window)
        async with CeleryPeer(mesh.stack.urls, folder) as peer:
            celery = await peer.run(count, users, window)
            # Latency at a rate that both can hold, or it would be that of a queue.
            rate = max(celery.per_second / 2, 1)
            paced = await peer.run(min(count, int(rate * 10) + 1), users, window, rate)
        latency = await _paced(mesh, rate, min(count / rate, 10), spent.deliveries)
    async with Mesh(users, sinks=False) as mesh:
        arrivals = Arrivals(mesh.stack.urls["sandbox"], mesh.http)
        target, key = mesh.stack.urls["grpc"], mesh.stack.demo_key
        async with Senders(target, key, Traffic(users), arrivals) as senders:
            wire = await senders.closed_loop(count)
        async with (
            HttpSink() as sink,
            CeleryPeer(mesh.stack.urls, folder, sink.apprise_url) as peer,
        ):
            apprise = await peer.run(count, users, min(window, 400))
    values: dict[str, Any] = {
        "mesh": {
            "per_second": spent.per_second,
            "latency_ms": latency,
            "cpu_us": spent.cpu_us(),
        },
        "celery": {**asdict(celery), "latency_ms": paced.latency_ms},
        "paced_per_second": round(rate, 1),
        "mesh_wire": {
            "per_second": wire.per_second(),
            "latency_ms": wire.latency_ms(),
        },
        "celery_apprise": asdict(apprise),
        "window": window,
    }
    values["mesh_over_celery"] = _ratios(values["mesh"], values["celery"])
    values["mesh_over_celery_apprise"] = _ratios(
        values["mesh_wire"], values["celery_apprise"]
    )
    lines = []
    for name in ("mesh", "celery", "mesh_wire", "celery_apprise"):
        found = values[name]
        latency = found["latency_ms"]
        lines.append(
            f"{name:16} {found['per_second']:8,.0f} a second, "
            f"p50 {latency.get('p50', 0):,.0f} ms, p99 {latency.get('p99', 0):,.0f} ms"
        )
    for name in ("mesh_over_celery", "mesh_over_celery_apprise"):
        ratio = values[name]
        lines.append(f"{name}: {ratio['per_second']} x the rate, {ratio['p99']} x p99")
    return Report(values, lines)


async def _mesh(mesh: Mesh, seconds: float, window: int) -> Spent:
    gate = mesh.gate(window)
    batch = max(1, min(500, window // 4))
    offering = mesh.offering(gate, Traffic(mesh.users), 2, batch=batch)
    return await mesh.work_off(gate, offering, seconds)


async def _paced(
    mesh: Mesh, rate: float, seconds: float, before: int
) -> dict[str, float]:
    """The time to the sink at a fixed rate, after so many earlier deliveries."""
    batch = max(1, int(rate / 20))
    target, key = mesh.stack.urls["grpc"], mesh.stack.demo_key
    flood = Flood(target, key, Traffic(mesh.users), batch=batch)
    began = time.time()
    await flood.offer(rate, seconds)
    ended = time.time()
    await mesh.settle(before + flood.deliveries)
    return await mesh.tracked.latency_ms(began, ended)


def _ratios(mesh: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    p99 = mesh["latency_ms"].get("p99", 0.0)
    theirs = peer["latency_ms"]["p99"]
    return {
        "per_second": round(mesh["per_second"] / max(peer["per_second"], 0.1), 2),
        "p99": round(p99 / max(theirs, 0.1), 3),
    }
