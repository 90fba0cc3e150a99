"""Spans recorded in memory, in place of an exporter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clarion.runtime import tracing


class Spans:
    """What was recorded so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        """Every span that has ended, in the order of their ends."""
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.finished]

    def named(self, name: str) -> ReadableSpan:
        """The one span of that name; AssertionError for none or several."""
        found = [span for span in self.finished if span.name == name]
        assert len(found) == 1, f"{len(found)} spans named {name}: {self.names}"
        return found[0]


@contextmanager
def capture_spans() -> Iterator[Spans]:
    """Records every span of the runtime's tracer inside, all of them sampled."""
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracing.use_tracer(provider.get_tracer("test"))
    try:
        yield Spans(exporter)
    finally:
        tracing.stop_recording()
        provider.shutdown()
