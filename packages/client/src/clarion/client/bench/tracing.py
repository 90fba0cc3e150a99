"""``tracing``: what traces and metrics cost, by turns with a mesh that exports none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from clarion.client.bench.mesh import Mesh, Spent
from clarion.client.bench.report import Report, table
from clarion.client.bench.traffic import Traffic
from clarion.client.embedded.collector import Collector

_KINDS = _NONE, _METRICS, _TRACED = "none", "metrics", "traced"
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
        help="Turns, of three stacks each.",
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

    Each turn is three stacks, in an order that changes: without telemetry, with
    metrics, and with metrics and the spans of the part that is sampled. They go to a
    collector in this process, whose work is counted, too.
    """
    found: dict[str, list[Spent]] = {name: [] for name in _KINDS}
    spans = 0
    for turn in range(turns):
        for name in _KINDS if turn % 2 == 0 else reversed(_KINDS):
            async with Collector() as collector:
                settings = _settings(name, collector.endpoint, percent)
                found[name].append(await _spent(users, seconds, settings))
                spans += len(collector.spans)
    mean = {name: _mean(spent) for name, spent in found.items()}
    by_process = {name: _by_process(spent) for name, spent in found.items()}
    sent = sum(one.accepted for one in found[_TRACED])
    values: dict[str, Any] = {
        "traced_over_metrics": round(mean[_TRACED] / mean[_METRICS], 3),
        "metrics_over_none": round(mean[_METRICS] / mean[_NONE], 3),
        "percent": percent,
        "cpu_us_per_notification": {
            name: [one.cpu_us() for one in spent] for name, spent in found.items()
        },
        "by_process": by_process,
        "spans_per_notification": round(spans / max(sent, 1), 4),
        "notifications": sent,
    }
    return Report(
        values,
        [
            f"metrics: {values['metrics_over_none']} times the CPU; {percent:g} % of "
            f"the calls traced as well: {values['traced_over_metrics']} times that, "
            f"{values['spans_per_notification']} spans a notification",
            *table("process", by_process),
        ],
    )


def _settings(kind: str, endpoint: str, percent: float) -> Mapping[str, str]:
    if kind == _NONE:
        return {}
    if kind == _METRICS:
        return {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(percent / 100),
    }


async def _spent(users: int, seconds: float, settings: Mapping[str, str]) -> Spent:
    async with Mesh(users, settings=settings, apart=True) as mesh:
        gate = mesh.gate(30_000)
        offering = mesh.offering(gate, Traffic(users), 4)
        return await mesh.work_off(gate, offering, seconds)


def _mean(turns: list[Spent]) -> float:
    return sum(one.cpu_us() for one in turns) / len(turns)


def _by_process(turns: list[Spent]) -> dict[str, float]:
    found = [one.by_process() for one in turns]
    return {
        name: round(sum(one.get(name, 0.0) for one in found) / len(found), 1)
        for name in found[0]
    }
