"""The benchmarks by name: a row here and a module ``clarion.client.bench.<name>``.

The module has ``OPTIONS`` (click options) and ``async def run(...) -> Report`` that
takes their values by name; the first line of its docstring is the help.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import click

from clarion.client.bench.report import Report

# In the order in which `clarion bench` runs them.
BENCHES = {
    "throughput": "All steps but the providers: rate, CPU by process, losses.",
    "wire": "The providers' real protocols: latency and rate.",
    "floor": "The mesh against the unavoidable work in a straight line.",
    "growth": "CPU at growing queues, recipients and tenants.",
    "peers": "The same job by Celery, and by Celery with Apprise.",
    "memory": "Resident memory of every process, idle and loaded.",
    "tracing": "What traces of one call in a hundred cost, and metrics.",
    "backpressure": "Three times the capacity: refused, bounded, nothing lost.",
    "schedules": "How exact schedules are, and what 100,000 do to the rest.",
    "escalation": "How late the next channel is used where nobody reads the first.",
    "topics": "A fan-out to 100,000 whose router is killed in the middle.",
    "lanes": "One tenant's backlog in the low lane: what it does to the others.",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark, ready to run."""

    name: str
    run: Callable[..., Coroutine[Any, Any, Report]]
    options: Sequence[click.Option]


def load(name: str) -> Bench:
    """The benchmark of that name; imports what it needs."""
    module = importlib.import_module(f"clarion.client.bench.{name}")
    return Bench(name, module.run, module.OPTIONS)
