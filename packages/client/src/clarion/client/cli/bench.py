"""``clarion bench``: measures the mesh on this machine."""

from __future__ import annotations

import asyncio
import json

import click

from clarion.client.cli.options import plain_errors


@click.command(name="bench")
@click.argument("name", type=click.Choice(["wire"]), default="wire")
@click.option(
    "--count",
    "-n",
    type=click.IntRange(min=10, max=1_000_000),
    default=5000,
    show_default=True,
    help="How many notifications to send.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON at the end.")
def command(name: str, count: int, as_json: bool) -> None:
    """Measure the mesh in a stack of its own, with the sandbox as every provider.

    wire: 70 % push, 20 % email, 10 % sms and in-app over the real protocols, at most
    400 notifications under way; throughput, latency, and CPU a notification by process.

    \b
    Examples:
      clarion bench
      clarion bench wire --count 20000 --json
    """
    with plain_errors():
        from clarion.client.bench.wire import wire

        result = asyncio.run(wire(count))
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    latency = result.accept_to_provider_ms
    click.echo(f"{result.per_second:,.0f} notifications a second")
    click.echo(f"accept to provider: p50 {latency['p50']} ms, p99 {latency['p99']} ms")
    click.echo(f"lost {result.lost}, duplicated {result.duplicated}")
    click.echo(f"CPU a notification: {result.cpu_us_per_notification:,.0f} us")
    for process, micros in result.by_process.items():
        click.echo(f"  {process:12} {micros:8,.0f}")
