"""An OTLP/gRPC collector that keeps what it gets: for tests and the demonstration."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

_MOST_SPANS = 200_000


@dataclass(frozen=True, slots=True)
class CollectedSpan:
    """One span: ids are hexadecimal, ``parent_id`` is empty for a root."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str] = field(default_factory=dict)


class Collector(TraceServiceServicer, MetricsServiceServicer):
    """Listens on a free loopback port while its context is entered."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        self.metrics: dict[str, set[str]] = defaultdict(set)
        """The names of the instruments that each service exported."""
        self._server = grpc.aio.server()
        self.port = 0

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        add_MetricsServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._server.stop(grace=0.5)

    def trace(self, trace_id: str) -> list[CollectedSpan]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    async def Export(self, request: object, context: object) -> object:
        """Takes traces or metrics: both services name their rpc Export."""
        if isinstance(request, ExportTraceServiceRequest):
            self._take_spans(request)
            return ExportTraceServiceResponse()
        if isinstance(request, ExportMetricsServiceRequest):
            for resource in request.resource_metrics:
                names = self.metrics[_service(resource.resource)]
                for scope in resource.scope_metrics:
                    names.update(metric.name for metric in scope.metrics)
        return ExportMetricsServiceResponse()

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            service = _service(resource.resource)
            for scope in resource.scope_spans:
                self.spans += [
                    CollectedSpan(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        {a.key: a.value.string_value for a in span.attributes},
                    )
                    for span in scope.spans
                ]
        del self.spans[:-_MOST_SPANS]


def _service(resource: Resource) -> str:
    for attribute in resource.attributes:
        if attribute.key == "service.name":
            return attribute.value.string_value
    return ""
