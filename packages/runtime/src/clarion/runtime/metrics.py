"""The mesh's own instruments: names, units and attributes, declared once.

A service's ``metrics.py`` makes the ones it records with ``counter`` and ``histogram``
and wraps them in ``record_*`` functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    ObservableGauge,
    Observation,
)

from clarion.runtime.telemetry import meter


class Attribute(StrEnum):
    """The attributes that instruments and spans of the mesh use."""

    CHANNEL = "clarion.channel"
    LANE = "clarion.lane"
    STAGE = "clarion.stage"
    PROVIDER = "clarion.provider"
    OUTCOME = "clarion.outcome"
    REASON = "clarion.reason"
    CATEGORY = "clarion.category"
    NOTIFICATION_ID = "clarion.notification_id"
    DELIVERY_ID = "clarion.delivery_id"


class Name(StrEnum):
    """The instruments of the mesh."""

    ACCEPTED = "clarion.notifications.accepted"
    REFUSED = "clarion.notifications.refused"
    PLANNED = "clarion.deliveries.planned"
    SKIPPED = "clarion.deliveries.skipped"
    DELIVERED = "clarion.deliveries.delivered"
    FAILED = "clarion.deliveries.failed"
    RETRIED = "clarion.deliveries.retried"
    DUPLICATED = "clarion.deliveries.duplicated"
    DEAD_LETTERED = "clarion.messages.dead_lettered"
    QUEUE_AGE = "clarion.queue.age"
    PROVIDER_LATENCY = "clarion.provider.latency"
    CHUNK_ITEMS = "clarion.chunk.items"


@dataclass(frozen=True, slots=True)
class Instrument:
    """What an instrument measures."""

    unit: str
    description: str
    attributes: frozenset[Attribute]


def _of(unit: str, description: str, *attributes: Attribute) -> Instrument:
    return Instrument(unit, description, frozenset(attributes))


_A = Attribute
INSTRUMENTS: Mapping[Name, Instrument] = {
    Name.ACCEPTED: _of("{notification}", "Accepted durably.", _A.LANE),
    Name.REFUSED: _of("{notification}", "Refused, not stored.", _A.REASON),
    Name.PLANNED: _of("{delivery}", "Handed over.", _A.CHANNEL, _A.LANE),
    Name.SKIPPED: _of("{delivery}", "Decided against.", _A.CHANNEL, _A.REASON),
    Name.DELIVERED: _of("{delivery}", "Accepted by the provider.", _A.CHANNEL),
    Name.FAILED: _of("{delivery}", "Failed for good.", _A.CHANNEL, _A.REASON),
    Name.RETRIED: _of("{delivery}", "To be tried again.", _A.CHANNEL, _A.REASON),
    Name.DUPLICATED: _of("{delivery}", "Perhaps sent twice.", _A.CHANNEL, _A.REASON),
    Name.DEAD_LETTERED: _of("{message}", "Set aside.", _A.STAGE, _A.REASON),
    Name.QUEUE_AGE: _of("s", "From stored to taken up.", _A.STAGE, _A.LANE),
    Name.PROVIDER_LATENCY: _of(
        "s", "From request to answer.", _A.CHANNEL, _A.PROVIDER, _A.OUTCOME
    ),
    Name.CHUNK_ITEMS: _of("{item}", "Items in one message.", _A.STAGE, _A.LANE),
}


def counter(name: Name) -> Counter:
    """The counter of that name."""
    declared = INSTRUMENTS[name]
    return meter().create_counter(name, declared.unit, declared.description)


def histogram(name: Name) -> Histogram:
    """The histogram of that name."""
    declared = INSTRUMENTS[name]
    return meter().create_histogram(name, declared.unit, declared.description)


def gauge(
    name: Name, observe: Callable[[CallbackOptions], Iterable[Observation]]
) -> ObservableGauge:
    """The gauge of that name, asked when metrics are sent."""
    declared = INSTRUMENTS[name]
    return meter().create_observable_gauge(
        name, [observe], declared.unit, declared.description
    )
