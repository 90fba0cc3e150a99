"""The process around a service: arguments, settings, loop, signals, exit code."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from clarion.runtime import logs, telemetry
from clarion.runtime.config import PREFIX, load_all
from clarion.runtime.errors import ClarionError, ConfigError
from clarion.runtime.service import Build, Service
from clarion.runtime.settings import RuntimeSettings

logger = logging.getLogger(__name__)

S = TypeVar("S")

OK, FAILED, MISCONFIGURED = 0, 1, 2


def main(name: str, settings: type[S], build: Build[S]) -> None:
    """Runs the service by the command line and environment; ends the process."""
    sys.exit(command(name, settings, build, sys.argv[1:], os.environ))


def command(
    name: str,
    settings: type[S],
    build: Build[S],
    arguments: list[str],
    environ: Mapping[str, str],
) -> int:
    """What ``main`` does; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"clarion-{name}",
        description=f"The {name} service of Clarion.",
        epilog="Settings are environment variables; the README lists them.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "migrate"),
        default="serve",
        help="serve (default), or migrate: apply the SQL migrations and end",
    )
    parser.add_argument(
        "--check", action="store_true", help="validate the settings and end"
    )
    given = parser.parse_args(arguments)
    try:
        if given.command == "migrate":
            logs.setup(name, environ.get(f"{PREFIX}LOG_LEVEL") or "INFO")
            return _migrate(name, environ)
        shared, own = load_all([RuntimeSettings, settings], environ)
        if given.check:
            return _check(shared)
        logs.setup(name, shared.log_level)
        _run_loop(_serve(name, shared, own, build))
    except ConfigError as wrong:
        for problem in wrong.problems:
            sys.stderr.write(f"clarion-{name}: {problem}\n")
        return MISCONFIGURED
    except _Failed:
        return FAILED
    return OK


class _Failed(Exception):
    """The service could not start, or something it runs on died; it was logged."""


def _check(settings: RuntimeSettings) -> int:
    from clarion.runtime.credentials import read_keys

    read_keys(settings.api_keys_file)
    sys.stdout.write("settings are valid\n")
    return OK


def _migrate(name: str, environ: Mapping[str, str]) -> int:
    from clarion.runtime.migrations import migrate, migrations_of

    url = environ.get(f"{PREFIX}POSTGRES_URL")
    if not url:
        raise ConfigError(f"{PREFIX}POSTGRES_URL is not set: give the URL of postgres")
    applied = migrate(url, name, migrations_of(name))
    logger.info("migrations done", extra={"applied": len(applied)})
    return OK


def _run_loop(serving: Coroutine[Any, Any, None]) -> None:
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):  # not made for every platform
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serving)


async def _serve(name: str, shared: RuntimeSettings, own: S, build: Build[S]) -> None:
    stop = _until_signal()
    exporting = telemetry.setup(name)
    service = Service(name, shared)
    failure: str | None = None
    try:
        starting = asyncio.create_task(_build_and_start(service, own, build))
        await _first(starting, stop)
        if starting.done():
            await starting
            dying = asyncio.create_task(service.failed())
            await _first(dying, stop)
            failure = dying.result() if dying.done() else None
            dying.cancel()
        else:
            starting.cancel()
            await asyncio.wait({starting})
    except ConfigError:
        raise
    except (ClarionError, OSError) as error:
        logger.critical("service did not start", extra={"problem": str(error)})
        failure = "start"
    except Exception:
        logger.critical("service did not start", exc_info=True)
        failure = "start"
    finally:
        await service.stop()
        await exporting.shutdown()
    if failure is not None:
        logger.critical("service failed", extra={"cause": failure})
        raise _Failed(failure)


async def _build_and_start(service: Service, own: S, build: Build[S]) -> None:
    if service.settings.migrate_on_start:
        from clarion.runtime.migrations import migrate_on_start

        await migrate_on_start(service.name, service.settings)
    await build(service, own)
    await service.start()
    _tune_collector()


def _tune_collector() -> None:
    """Looks for cycles less often, and not among what lives as long as the process.

    What a batch makes is freed by its reference counts; searching it again and again
    took 7 % of the time of a busy service.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _first(task: asyncio.Task[Any], stop: asyncio.Event) -> None:
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


def _until_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        if stop.is_set():
            logger.warning("second signal: ending at once", extra={"signal": number})
            os._exit(128 + number)
        logger.info("signal received: stopping", extra={"signal": number})
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)
    return stop
