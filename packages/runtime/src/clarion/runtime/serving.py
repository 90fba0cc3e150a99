"""A process while it serves: its loop, its services, signals, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clarion.runtime import telemetry
from clarion.runtime.errors import ClarionError, ConfigError
from clarion.runtime.identity import context_of
from clarion.runtime.program import Program
from clarion.runtime.service import Service
from clarion.runtime.settings import RuntimeSettings

logger = logging.getLogger(__name__)

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Part(Generic[S]):
    """One service of the process, with its settings."""

    program: Program[S]
    shared: RuntimeSettings
    own: S


class FailedError(Exception):
    """A service could not start, or something it runs on died; it was logged."""


def serve(name: str, parts: Sequence[Part[Any]]) -> None:
    """Runs the services in this process until a signal.

    ``name`` is the program's, for logs and metrics. The first of the parts may call the
    others, so it is stopped before them. Raises FailedError when something they run on
    has died, and ConfigError for what only shows when they are wired.
    """
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):  # not made for every platform
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(name, parts))


async def _serve(name: str, parts: Sequence[Part[Any]]) -> None:
    stop = _until_signal()
    hosted = [part.program.name for part in parts] if len(parts) > 1 else []
    exporting = telemetry.setup(name, hosted)
    services: dict[str, Service] = {}
    for part in parts:
        services[part.program.name] = Service(
            part.program.name, part.shared, neighbours=services
        )
    failure: str | None = None
    try:
        starting = asyncio.create_task(_start(parts, services))
        await _first(starting, stop)
        if starting.done():
            await starting
            dying = asyncio.create_task(_failed(services))
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
        await _stop(services)
        await exporting.shutdown()
    if failure is not None:
        logger.critical("service failed", extra={"cause": failure})
        raise FailedError(failure)


async def _start(parts: Sequence[Part[Any]], services: dict[str, Service]) -> None:
    starting = [
        asyncio.create_task(
            _build_and_start(part, services[part.program.name]),
            context=context_of(part.program.name),
        )
        for part in parts
    ]
    try:
        await asyncio.gather(*starting)
    finally:
        for task in starting:
            task.cancel()
        await asyncio.wait(starting)
    _tune_collector()


async def _build_and_start(part: Part[Any], service: Service) -> None:
    if service.settings.migrate_on_start:
        from clarion.runtime.migrations import migrate_on_start

        await migrate_on_start(service.name, service.settings)
    await part.program.build(service, part.own)
    await service.start()


async def _failed(services: dict[str, Service]) -> str:
    """Waits for the first death in any service; what died."""
    waiting = [asyncio.create_task(one.failed()) for one in services.values()]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in waiting:
            task.cancel()


async def _stop(services: dict[str, Service]) -> None:
    first, *rest = services.values()
    for group in ([first], rest):
        await asyncio.gather(
            *(
                asyncio.create_task(one.stop(), context=context_of(one.name))
                for one in group
            )
        )


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
