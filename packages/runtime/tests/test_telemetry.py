"""OTLP export to a collector of our own, and none without one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import (
    metrics_service_pb2,
    metrics_service_pb2_grpc,
)
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2,
    trace_service_pb2_grpc,
)

PROGRAM = textwrap.dedent(
    """
    import asyncio
    import sys
    from clarion.runtime import metrics, telemetry, tracing

    accepted = metrics.counter(metrics.Name.ACCEPTED)

    async def main():
        switched_on = telemetry.setup("probe")
        with tracing.span("outer"):
            pass
        accepted.add(3)
        await switched_on.shutdown()

    asyncio.run(main())
    print("opentelemetry.sdk" in sys.modules)
    """
)


class Collector:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.spans: dict[str, str] = {}
        self.instruments: set[str] = set()

    def traces(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            attributes = {a.key: a.value for a in resource.resource.attributes}
            service = attributes["service.name"].string_value
            for scope in resource.scope_spans:
                self.spans.update({span.name: service for span in scope.spans})
        return trace_service_pb2.ExportTraceServiceResponse()

    def metrics(self, request: Any, context: Any) -> Any:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.instruments |= {metric.name for metric in scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    kept = Collector()
    traces = trace_service_pb2_grpc.TraceServiceServicer()
    traces.Export = kept.traces  # type: ignore[method-assign]
    metrics = metrics_service_pb2_grpc.MetricsServiceServicer()
    metrics.Export = kept.metrics  # type: ignore[method-assign]
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(traces, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(metrics, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield kept, f"http://127.0.0.1:{port}"
    server.stop(0).wait()


def run(**environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


def test_spans_and_metrics_go_to_the_collector(collector):
    kept, endpoint = collector

    run(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)

    assert kept.spans == {"outer": "clarion-probe"}
    assert "clarion.notifications.accepted" in kept.instruments


def test_the_sampler_of_the_environment_is_honoured(collector):
    kept, endpoint = collector

    run(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint,
        OTEL_TRACES_SAMPLER="parentbased_always_off",
    )

    assert (kept.spans, kept.instruments) == ({}, set())


def test_without_an_endpoint_the_sdk_is_not_even_imported():
    assert run() == "False"
