"""``wire``: the mixed stream to the sandbox over the providers' real protocols."""

from __future__ import annotations

from typing import Any

import click

from clarion.client.bench.mesh import Mesh, Stopwatch
from clarion.client.bench.report import Report, table
from clarion.client.bench.senders import Arrived, Senders
from clarion.client.bench.traffic import Traffic
from clarion.client.demo.arrivals import Arrivals

_WARM_UP = 200
OPTIONS = (
    click.Option(
        ["--rate"],
        type=click.FloatRange(min=1),
        default=1165.0,
        show_default=True,
        help="Notifications a second of the open loop.",
    ),
    click.Option(
        ["--seconds"],
        type=click.FloatRange(min=0.5),
        default=30.0,
        show_default=True,
        help="How long the open loop and the unary calls last.",
    ),
    click.Option(
        ["--count", "-n"],
        type=click.IntRange(min=10, max=1_000_000),
        default=5000,
        show_default=True,
        help="Notifications of the closed loop.",
    ),
    click.Option(
        ["--callers"],
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Callers of the unary calls.",
    ),
    click.Option(
        ["--users"],
        type=click.IntRange(min=1),
        default=20_000,
        show_default=True,
        help="How many recipients there are.",
    ),
)


async def run(
    *, rate: float, seconds: float, count: int, callers: int, users: int
) -> Report:
    """The providers' real protocols, spoken to the sandbox.

    70 % push, 20 % email, 10 % sms and in-app. Three ways in turn: an open loop at a
    fixed rate (latency from when a send was due), a closed loop with at most 400 under
    way (the highest rate), and unary calls by 64 callers at once.
    """
    async with Mesh(users, sinks=False) as mesh:
        urls = mesh.stack.urls
        arrivals = Arrivals(urls["sandbox"], mesh.http)
        senders = Senders(urls["grpc"], mesh.stack.demo_key, Traffic(users), arrivals)
        async with senders:
            # The first ones open the connections to the providers.
            await senders.closed_loop(_WARM_UP)
            watch = Stopwatch(mesh.stack)
            opened = await senders.open_loop(rate, seconds)
            spent = watch.stop(len(opened.sent_ms), opened.deliveries)
            closed = await senders.closed_loop(count)
            unary, call_ms = await senders.unary(callers, seconds)
        tally = await mesh.settle(senders.deliveries)
        lost, duplicated = senders.compared()
    values: dict[str, Any] = {
        "offered_per_second": rate,
        "per_second": opened.per_second(),
        "accept_to_provider_ms": opened.latency_ms(),
        "cpu_us_per_notification": spent.cpu_us(),
        "by_process": spent.by_process(),
        "lost": lost + max(senders.deliveries - tally.ended, 0),
        "duplicated": duplicated,
        "closed_loop": _summary(closed),
        "unary": {**_summary(unary), "callers": callers, "call_ms": call_ms},
        "notifications": senders.accepted,
        "statuses": tally.statuses,
    }
    return Report(values, _text(values))


def _summary(arrived: Arrived) -> dict[str, Any]:
    return {
        "per_second": arrived.per_second(),
        "accept_to_provider_ms": arrived.latency_ms(),
    }


def _text(values: dict[str, Any]) -> list[str]:
    def line(title: str, found: dict[str, Any]) -> str:
        latency = found["accept_to_provider_ms"]
        return (
            f"{title:12} {found['per_second']:8,.0f} a second, accept to provider: "
            f"p50 {latency.get('p50', 0)} ms, p99 {latency.get('p99', 0)} ms"
        )

    return [
        line(f"at {values['offered_per_second']:,.0f}/s", values),
        line("closed loop", values["closed_loop"]),
        line("unary", values["unary"]),
        f"lost {values['lost']}, duplicated {values['duplicated']}",
        f"CPU {values['cpu_us_per_notification']:,.0f} us a notification at that rate",
        *table("process", {"us": values["by_process"]}),
    ]
