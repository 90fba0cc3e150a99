"""How a provider has been answering in the last minute. Pure but for the clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from clarion.runtime.clock import Clock
from clarion.runtime.delivery.outcome import OutcomeKind

WINDOW = 60
DEGRADED_FROM = 0.05
DOWN_FROM = 0.5
_ENOUGH = 5
"""Attempts before a share means anything."""
_LATENCIES_PER_SECOND = 50
_TROUBLE = (OutcomeKind.RETRY, OutcomeKind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What is told about a provider."""

    state: str
    """healthy, degraded or down: by attempts that the provider is to blame for."""
    latency: timedelta
    """The median."""
    error_rate: float
    """The share of attempts that did not end as SENT, 0 to 1."""


class _Second:
    __slots__ = ("attempts", "failures", "latencies", "number", "troubles")

    def __init__(self, number: int) -> None:
        self.number = number
        self.attempts = 0
        self.failures = 0
        self.troubles = 0
        self.latencies: list[float] = []


class ProviderHealth:
    """Counts attempts by second and forgets those over a minute old."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds: deque[_Second] = deque()

    def record(self, kind: OutcomeKind, latency: timedelta) -> None:
        """Counts one attempt."""
        number = int(self._clock.monotonic())
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
            self._forget(number)
        second = self._seconds[-1]
        second.attempts += 1
        if kind is not OutcomeKind.SENT:
            second.failures += 1
            if kind in _TROUBLE:
                second.troubles += 1
        if len(second.latencies) < _LATENCIES_PER_SECOND:
            second.latencies.append(latency.total_seconds())

    def state(self) -> ProviderState:
        """The last minute; healthy when nothing was tried."""
        self._forget(int(self._clock.monotonic()))
        attempts = sum(second.attempts for second in self._seconds)
        if not attempts:
            return ProviderState("healthy", timedelta(0), 0.0)
        failures = sum(second.failures for second in self._seconds)
        trouble = sum(second.troubles for second in self._seconds) / attempts
        latencies = [value for second in self._seconds for value in second.latencies]
        return ProviderState(
            _word(trouble, attempts),
            timedelta(seconds=median(latencies) if latencies else 0.0),
            failures / attempts,
        )

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0].number <= now - WINDOW:
            self._seconds.popleft()


def _word(trouble: float, attempts: int) -> str:
    if attempts >= _ENOUGH and trouble >= DOWN_FROM:
        return "down"
    return "degraded" if trouble >= DEGRADED_FROM else "healthy"
