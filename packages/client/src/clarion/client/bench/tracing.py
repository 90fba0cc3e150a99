"""``tracing``: what traces and metrics cost, by turns with a mesh that exports none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from clarion.client.bench.mesh import Mesh, Spent, Stopwatch, watched
from clarion.client.bench.report import Report, table
from clarion.client.bench.traffic import Traffic
from clarion.client.embedded.collector import Collector

OPTIONS = (
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=0.5),
        default=15.0,
        show_default=True,
        help="How long to send in each turn.",
    ),
    click.Option(
        ["--turns"],
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="Turns without and with telemetry.",
    ),
    click.Option(
        ["--percent"],
        type=click.FloatRange(0, 100),
        default=1.0,
        show_default=True,
        help="How many of a hundred calls are traced.",
    ),
    click.Option(
        ["--users"],
        type=click.IntRange(min=1),
        default=100_000,
        show_default=True,
        help="How many recipients there are.",
    ),
)


async def run(*, seconds: float, turns: int, percent: float, users: int) -> Report:
    """CPU of ``throughput`` with a part of all calls traced, against without.

    Each turn is a stack without telemetry and then one that exports its metrics, and
    the spans of the part that is sampled, to a collector in this process: what that
    costs is counted, too.
    """
    without, traced = [], []
    spans = 0
    for _ in range(turns):
        without.append(await _spent(users, seconds, {}))
        async with Collector() as collector:
            settings = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(percent / 100),
            }
            traced.append(await _spent(users, seconds, settings))
            spans += len(collector.spans)
    ratio = _mean(traced) / _mean(without)
    sent = sum(one.accepted for one in traced)
    values: dict[str, Any] = {
        "traced_over_without": round(ratio, 3),
        "percent": percent,
        "without_us": [one.cpu_us() for one in without],
        "traced_us": [one.cpu_us() for one in traced],
        "without_by_process": _by_process(without),
        "traced_by_process": _by_process(traced),
        "spans_per_notification": round(spans / max(sent, 1), 4),
        "notifications": sent,
    }
    columns = {
        "traced us": values["traced_by_process"],
        "without us": values["without_by_process"],
    }
    return Report(
        values,
        [
            f"{percent:g} % of the calls traced: {ratio:.3f} times the CPU "
            f"({_mean(without):.1f} -> {_mean(traced):.1f} us a notification, "
            f"{turns} turns), {values['spans_per_notification']} spans a notification",
            *table("process", columns),
        ],
    )


async def _spent(users: int, seconds: float, settings: Mapping[str, str]) -> Spent:
    async with Mesh(users, settings=settings, apart=True) as mesh:
        gate = mesh.gate(30_000)
        offering = mesh.offering(gate, Traffic(users), 4)
        watch = Stopwatch(mesh.stack)
        await watched(gate, offering, seconds)
        await mesh.drained()
        return watch.stop(offering.accepted, offering.deliveries)


def _mean(turns: list[Spent]) -> float:
    return sum(one.cpu_us() for one in turns) / len(turns)


def _by_process(turns: list[Spent]) -> dict[str, float]:
    found = [one.by_process() for one in turns]
    return {
        name: round(sum(one.get(name, 0.0) for one in found) / len(found), 1)
        for name in found[0]
    }
