"""``lanes``: what one tenant's backlog in the low lane does to everybody else."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import click

from clarion.client.bench.backlog import Backlog
from clarion.client.bench.probes import PEOPLE, Probe
from clarion.client.bench.processes import cpu_seconds, spent
from clarion.client.bench.queues import Queues
from clarion.client.bench.report import Report, table
from clarion.client.bench.second_flood import SecondFlood
from clarion.client.client import Client
from clarion.client.demo.arrivals import Arrivals
from clarion.client.demo.result import percentiles
from clarion.client.embedded import Stack

PER_SECOND = 20.0
_WARM_UP = 3.0
_LONGEST = 40.0
_DRAIN = 60.0
OPTIONS = (
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=500, max=1_000_000),
        default=200_000,
        show_default=True,
        help="Notifications of the backlog.",
    ),
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=1),
        help="How long each of the two runs lasts; by default by the backlog.",
    ),
)


@dataclass(slots=True)
class LanesResult:
    """What was measured; all times are accept to provider, in milliseconds."""

    backlog: int
    high_ms: dict[str, float]
    other_tenant_ms: dict[str, float]
    high_with_backlog_ms: dict[str, float]
    other_tenant_with_backlog_ms: dict[str, float]
    high_p99_ratio: float
    other_tenant_p99_ratio: float
    low_per_second: float
    """What was sent of the backlog meanwhile."""
    alone_per_second: float
    """And what of the rest afterwards, without other traffic."""
    accepted_per_second: float
    """How fast the backlog was accepted."""
    backlog_accepted: int = 0
    backlog_at_start: int = 0
    """Of the backlog, not sent yet when the measurement beside it began."""
    backlog_left: int = 0
    """Of the backlog, when the measurement ended; ratios mean something if not 0."""
    second_flood: int = 0
    """Of the other tenant, all at once, when the measurement had ended."""
    second_flood_seconds: float = 0.0
    """Until all of it was sent."""
    second_flood_share: float = 0.0
    """Of what was sent meanwhile; the rest is of the backlog."""
    waiting: int = 0
    """Still in the queues a minute after the measurement."""
    lost: int = 0
    """Neither arrived nor in the queues."""
    duplicated: int = 0
    by_process: dict[str, float] = field(default_factory=dict)
    """CPU seconds a second while the backlog was worked off."""

    def as_json(self) -> dict[str, object]:
        """The result as JSON values."""
        return asdict(self)


async def run(*, count: int, seconds: float | None) -> Report:
    """What one tenant's backlog in the low lane does to everybody else.

    20 sends a second in the high lane by the tenant of the backlog and 20 in the low
    lane by another tenant; first alone, then with the backlog being worked off. They
    send while it is accepted, too, so that most of it is there when the second run
    begins. The first 3 seconds of each run are not counted. Then nobody sends but the
    other tenant, a fortieth of the backlog at once. Lost and duplicated are over all.
    """
    result = await lanes(count, seconds)
    return Report(result.as_json(), _lines(result))


async def lanes(backlog: int, seconds: float | None = None) -> LanesResult:
    """Measures in a stack of its own; ``seconds`` is the length of each of both runs.

    By default longer with a larger backlog, up to 40 seconds.
    """
    if seconds is None:
        seconds = min(_LONGEST, max(2.0, backlog / 5000))
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder) / "stack") as stack:
            return await _measure(stack, backlog, seconds)


async def _measure(stack: Stack, backlog: int, seconds: float) -> LanesResult:
    target = stack.urls["grpc"]
    async with (
        Client(target, stack.demo_key) as demo,
        Client(target, stack.credentials.other_key) as other,
        aiohttp.ClientSession() as http,
    ):
        arrivals = Arrivals(stack.urls["sandbox"], http)
        high = Probe("high", demo, "high", PER_SECOND)
        low = Probe("other", other, "low", PER_SECOND)
        probes = (high, low)
        flood = Backlog(target, stack.demo_key, backlog)
        second = SecondFlood.beside(backlog, target, stack.credentials.other_key)
        await asyncio.gather(
            high.load(), low.load(), flood.load(demo), second.flood.load(other)
        )
        await _run(probes, _WARM_UP)
        for probe in probes:
            probe.sent_ms.clear()
        await _run(probes, seconds)
        before = [dict(probe.sent_ms) for probe in probes]
        for probe in probes:
            probe.sent_ms.clear()

        at_start = await _arrived(http, stack)
        filled = await _fill(flood, probes)
        # As before the other run: what is measured is a mesh at work, not its start.
        await _run(probes, _WARM_UP)
        warm = sum(len(probe.sent_ms) for probe in probes)
        for probe in probes:
            probe.sent_ms.clear()
        before_probes = await _arrived(http, stack) - at_start
        waiting = max(flood.accepted + warm - before_probes, 0)
        cpu, started = cpu_seconds(stack), time.monotonic()
        await _run(probes, seconds)
        took = time.monotonic() - started
        used = spent(cpu, cpu_seconds(stack))
        sent = await _arrived(http, stack) - at_start
        probed = sum(len(probe.sent_ms) for probe in probes)
        left = max(flood.accepted + warm + probed - sent, 0)

        drained = time.monotonic()
        await second.run()
        everything = flood.accepted + warm + probed + second.flood.accepted
        await _until(http, stack, at_start + everything)
        drained = time.monotonic() - drained
        # Before the arrivals are read: what comes in between is no loss.
        depth = await Queues(stack.urls["nats_monitor"], http).depth()
        await arrivals.follow()
    missing = at_start + everything - len(arrivals.counts)
    of_high, of_low, with_high, with_low = (
        percentiles(sent_ms, arrivals.arrived_ms)
        for sent_ms in (*before, *(probe.sent_ms for probe in probes))
    )
    doubles = sum(arrivals.counts.values()) - len(arrivals.counts)
    second_seconds, second_share = second.outcome(arrivals.arrived_ms)
    return LanesResult(
        backlog=backlog,
        high_ms=of_high,
        other_tenant_ms=of_low,
        high_with_backlog_ms=with_high,
        other_tenant_with_backlog_ms=with_low,
        high_p99_ratio=_ratio(with_high, of_high),
        other_tenant_p99_ratio=_ratio(with_low, of_low),
        low_per_second=round((sent - before_probes - probed) / took, 1),
        alone_per_second=round((left + second.flood.accepted) / drained, 1),
        accepted_per_second=round(flood.accepted / filled, 1),
        backlog_accepted=flood.accepted,
        backlog_at_start=waiting,
        backlog_left=left,
        second_flood=second.flood.accepted,
        second_flood_seconds=second_seconds,
        second_flood_share=second_share,
        waiting=missing if depth.work_messages else 0,
        lost=0 if depth.work_messages else missing,
        duplicated=doubles,
        by_process={n: round(s / took, 3) for n, s in used.items()},
    )


async def _fill(flood: Backlog, probes: tuple[Probe, ...]) -> float:
    """Seconds until the backlog is accepted; the probes send meanwhile.

    Beside nobody it would be worked off nearly as fast as it comes, and little of it
    would be there to be measured.
    """

    async def fill() -> float:
        began = time.monotonic()
        await flood.run()
        return time.monotonic() - began

    async with asyncio.TaskGroup() as group:
        filling = group.create_task(fill())
        while not filling.done():
            # To each person once, so that nobody comes to a limit.
            await asyncio.gather(*(one.run(PEOPLE / PER_SECOND) for one in probes))
    return filling.result()


async def _run(probes: tuple[Probe, ...], seconds: float) -> None:
    await asyncio.gather(*(probe.run(seconds) for probe in probes))
    await asyncio.sleep(0.5)


async def _arrived(http: aiohttp.ClientSession, stack: Stack) -> int:
    async with http.get(f"{stack.urls['sandbox']}/summary") as response:
        summary = await response.json()
    return int(summary["accepted"]["total"])


async def _until(http: aiohttp.ClientSession, stack: Stack, wanted: int) -> None:
    """Waits until so many have arrived, or nothing comes any more, or long enough."""
    end = time.monotonic() + _DRAIN
    while time.monotonic() < end:
        if await _arrived(http, stack) >= wanted:
            return
        await asyncio.sleep(0.5)


def _lines(result: LanesResult) -> list[str]:
    columns = {
        "high": result.high_ms,
        "with backlog": result.high_with_backlog_ms,
        "other tenant": result.other_tenant_ms,
        "with it": result.other_tenant_with_backlog_ms,
    }
    return [
        *table("ms", columns),
        f"p99 ratios: high {result.high_p99_ratio}, "
        f"other tenant {result.other_tenant_p99_ratio}",
        f"the backlog meanwhile: {result.low_per_second:,.0f} a second, "
        f"alone {result.alone_per_second:,.0f}; at the start "
        f"{result.backlog_at_start:,}, left {result.backlog_left:,}",
        f"then {result.second_flood:,} of the other tenant: sent after "
        f"{result.second_flood_seconds} s, {result.second_flood_share:.0%} of all "
        "that was sent meanwhile",
        f"lost {result.lost}, duplicated {result.duplicated}, "
        f"still waiting {result.waiting:,}",
    ]


def _ratio(with_backlog: Mapping[str, float], alone: Mapping[str, float]) -> float:
    if not (with_backlog and alone):
        return 0.0
    return round(with_backlog["p99"] / alone["p99"], 2)
