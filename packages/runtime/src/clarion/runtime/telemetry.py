"""Traces and metrics by OTLP/gRPC, switched on by the standard OTEL_ variables.

Without an endpoint nothing of the SDK is imported: spans are not recorded and
instruments count nothing, which keeps start-up and every call cheap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from clarion.runtime import instruments, tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

SCOPE = "clarion.runtime"
_FLUSH_LIMIT = timedelta(seconds=2)


class Telemetry:
    """What was switched on, to be shut down at the end."""

    def __init__(self, shutdowns: Sequence[Callable[[], None]] = ()) -> None:
        self._shutdowns = shutdowns

    @property
    def enabled(self) -> bool:
        """Whether anything is exported."""
        return bool(self._shutdowns)

    async def shutdown(self, limit: timedelta = _FLUSH_LIMIT) -> None:
        """Sends what is left, for at most ``limit``, without blocking the loop.

        A collector that hangs must not keep a service from ending, so the flush runs in
        a daemon thread that the interpreter does not wait for.
        """
        if not self._shutdowns:
            return
        tracing.stop_recording()
        instruments.stop_counting()
        loop = asyncio.get_running_loop()
        flushed = asyncio.Event()

        def tell() -> None:
            # The loop may be gone: then nobody waits any more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(flushed.set)

        waiting = [
            threading.Thread(target=_quietly, args=(shutdown,), daemon=True)
            for shutdown in self._shutdowns
        ]

        def flush() -> None:
            for thread in waiting:
                thread.start()
            for thread in waiting:
                thread.join(limit.total_seconds())
            tell()

        threading.Thread(target=flush, name="telemetry-flush", daemon=True).start()
        try:
            await asyncio.wait_for(flushed.wait(), limit.total_seconds())
        except TimeoutError:
            logger.warning("telemetry was not flushed in time")


def setup(
    program: str,
    services: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Telemetry:
    """Switches telemetry on where an OTLP endpoint is set; once in a process.

    ``program`` is the name without prefix: OTEL_SERVICE_NAME defaults to
    ``clarion-<program>``. With several ``services`` in the process each exports by
    itself, under its own name. OTEL_TRACES_SAMPLER and _ARG are honoured.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Telemetry()
    shutdowns: list[Callable[[], None]] = []
    for service in services or ("",):
        resource = partial(_resource, service or program, environ)
        if _wanted(environ, "TRACES"):
            shutdowns.append(_export_traces(resource(), service).shutdown)
        if _wanted(environ, "METRICS"):
            shutdowns.append(_export_metrics(resource(), service).shutdown)
    return Telemetry(shutdowns)


def _wanted(environ: Mapping[str, str], signal: str) -> bool:
    if environ.get(f"OTEL_{signal}_EXPORTER", "otlp") == "none":
        return False
    return bool(
        environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def _resource(service: str, environ: Mapping[str, str]) -> Resource:
    from opentelemetry.sdk.resources import Resource

    attributes = {
        "service.name": environ.get("OTEL_SERVICE_NAME") or f"clarion-{service}",
        "service.namespace": "clarion",
        "service.instance.id": f"{os.uname().nodename}-{os.getpid()}",
    }
    # A program that is no distribution of ours, such as a test, has no version.
    with contextlib.suppress(PackageNotFoundError):
        attributes["service.version"] = version(f"clarion-{service}")
    return Resource.create(attributes)


def _export_traces(resource: Resource, service: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The sampler comes from OTEL_TRACES_SAMPLER(_ARG) and is parent based by default.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracing.use_tracer(provider.get_tracer(SCOPE), service)
    return provider


def _export_metrics(resource: Resource, service: str) -> MeterProvider:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
        OTLPMetricExporter,
    )
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    provider = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter())],
        resource=resource,
        shutdown_on_exit=False,
    )
    instruments.use_meter(provider.get_meter(SCOPE), service)
    return provider


def _quietly(shutdown: Callable[[], None]) -> None:
    try:
        shutdown()
    except Exception:
        logger.warning("telemetry did not shut down", exc_info=True)
