"""Counters and histograms that count for the service under way.

They are made where they are used, before or after telemetry is switched on; without it
they count nothing, at next to no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.metrics import Meter

from clarion.runtime.identity import current_service

Attributes = Mapping[str, str | bool | int | float] | None

_meters: dict[str, Meter] = {}


def use_meter(meter: Meter, service: str = "") -> None:
    """Sets where a service counts; without a name all that have no meter of their own.
    Called by telemetry."""
    _meters[service] = meter


def stop_counting() -> None:
    """From now on nothing is counted."""
    _meters.clear()


class _Instrument:
    def __init__(self, make: Callable[[Meter], Any]) -> None:
        self._make = make
        self._made: dict[Meter, Any] = {}

    def _own(self) -> Any:
        """That of the service under way; None where it has no meter."""
        meter = _meters.get(current_service()) or _meters.get("")
        if meter is None:
            return None
        made = self._made.get(meter)
        if made is None:
            made = self._made[meter] = self._make(meter)
        return made


class Counter(_Instrument):
    """What only grows."""

    def __init__(self, name: str, unit: str, description: str) -> None:
        super().__init__(lambda meter: meter.create_counter(name, unit, description))

    def add(self, amount: float, attributes: Attributes = None) -> None:
        """Counts for the service under way."""
        if _meters and (own := self._own()) is not None:
            own.add(amount, attributes)


class Histogram(_Instrument):
    """How values are spread."""

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        buckets: Sequence[float] | None | None,
    ) -> None:
        super().__init__(
            lambda meter: meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=buckets
            )
        )

    def record(self, amount: float, attributes: Attributes = None) -> None:
        """Records for the service under way."""
        if _meters and (own := self._own()) is not None:
            own.record(amount, attributes)
