"""``clarion demo``: the main job on this machine, counted."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from clarion.client.cli.options import data_option, plain_errors


@click.command(name="demo")
@click.option(
    "--count",
    "-n",
    type=click.IntRange(min=1, max=2_000_000),
    default=2000,
    show_default=True,
    help="How many notifications to send.",
)
@click.option("--once", is_flag=True, help="End after the demonstration.")
@data_option
def command(count: int, once: bool, data: Path) -> None:
    """Start the mesh, send notifications on four channels, and count what arrived.

    The last line is one JSON object. The exit status is 1 when anything was lost,
    duplicated or wrong. Without --once it goes on serving until Ctrl-C.

    \b
    Examples:
      clarion demo
      clarion demo --count 20000 --once
    """
    with plain_errors():
        sys.exit(asyncio.run(_run(count, once, data)))


async def _run(count: int, once: bool, data: Path) -> int:
    from rich.console import Console

    from clarion.client.demo.display import Display
    from clarion.client.demo.run import demonstrate
    from clarion.client.embedded import Stack
    from clarion.client.embedded.collector import Collector

    console = Console(stderr=True, highlight=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None

    def interrupted() -> None:
        if stop.is_set():
            main.cancel()
        stop.set()

    async with Collector() as collector:
        # Only what a caller samples is traced: the one notification that is followed.
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        }
        console.print("starting the mesh ...")
        async with Stack(data, settings=settings) as stack:
            urls = stack.urls
            for name in ("rest", "grpc", "sandbox"):
                console.print(f"  {name:8} {urls[name]}")
            loop.add_signal_handler(signal.SIGINT, main.cancel)
            with Display(console) as display:
                result = await demonstrate(
                    count,
                    edge=urls["grpc"],
                    rest_url=urls["rest"],
                    sandbox_url=urls["sandbox"],
                    key=stack.demo_key,
                    collector=collector,
                    progress=display.update,
                )
            click.echo(json.dumps(result.as_json()))
            if not once:
                console.print(f"what arrived, live: {urls['sandbox']}")
                console.print(f"the API key: {stack.credentials.demo_key_file}")
                console.print("serving until Ctrl-C")
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, interrupted)
                with suppress(asyncio.CancelledError):
                    await stop.wait()
    return 0 if result.is_right else 1
