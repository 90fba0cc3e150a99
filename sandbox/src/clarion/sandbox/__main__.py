"""Command line of the sandbox: settings, event loop, signals."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
from collections.abc import Callable

import click

from clarion.sandbox import settings as sandbox_settings


class JsonLines(logging.Formatter):
    """One JSON object a line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


@click.command()
@click.option("--data", help="Folder for keys and sandbox.json.")
@click.option("--ports", help='Ports, for example "smtp=2525,control=8025".')
@click.option("--twilio-sid", help="Account SID to answer to.")
@click.option("--twilio-inbound-url", help="Webhook for STOP, START and other texts.")
@click.option("--sendgrid-events-url", help="Webhook for SendGrid's signed events.")
@click.option(
    "--receipts", type=click.Choice(["on", "off"]), help="Send the usual receipts."
)
def main(**options: str | None) -> None:
    """Run every provider on loopback until SIGTERM or Ctrl-C.

    Options override the environment (CLARION_SANDBOX_DATA, ..._PORTS, ...); secrets are
    taken from the environment only. The sandbox is ready when <data>/sandbox.json is
    there.
    """
    environ = dict(os.environ)
    for name, value in options.items():
        if value is not None:
            environ[f"CLARION_SANDBOX_{name.upper()}"] = value
    try:
        settings = sandbox_settings.from_environment(environ)
    except sandbox_settings.SettingsError as exc:
        raise click.UsageError(str(exc)) from exc
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    level = os.environ.get("CLARION_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, handlers=[handler])
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except OSError as exc:
        raise click.ClickException(str(exc)) from exc


async def _serve(settings: sandbox_settings.Settings) -> None:
    # Imported late, so that --help and a wrong option answer at once.
    from clarion.sandbox.app import serving

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings):
        # What was made until now stays; searching it for cycles again and again takes a
        # tenth of the time under load.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        logging.getLogger(__name__).info("sandbox ready")
        await stop.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
