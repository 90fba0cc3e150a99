"""When a delivery is tried again and when it is given up: pure arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Literal

from clarion.runtime.delivery.outcome import Outcome, OutcomeKind


class Verdict(Enum):
    """What becomes of a delivery after an attempt."""

    DONE = "done"
    """It is over: never sent again."""
    AGAIN = "again"
    """It is tried again after a wait."""
    EXHAUSTED = "exhausted"
    """It was tried often enough: to the dead letters."""


DEFAULT_WAITS = tuple(
    timedelta(seconds=seconds) for seconds in (2, 10, 30, 60, 180, 480, 900)
)
"""Seven waits between eight attempts, 28 minutes together."""

JITTER = 0.2
LONGEST_RETRY_AFTER = timedelta(hours=1)
"""A provider that asks for more is asked again after this."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when a channel tries."""

    waits: tuple[timedelta, ...] = DEFAULT_WAITS
    """The waits between attempts; one attempt more than waits is made."""
    unknown: Literal["retry", "keep"] = "retry"
    """UNKNOWN is tried again, which may double a message, or kept as it is, which may
    lose one."""

    @property
    def max_attempts(self) -> int:
        """Attempts in one round. A redriven dead letter starts another round."""
        return len(self.waits) + 1

    def verdict(self, attempt: int, outcome: Outcome) -> Verdict:
        """What follows attempt number ``attempt`` (from 1, counted on by a redrive)."""
        match outcome.kind:
            case OutcomeKind.SENT | OutcomeKind.FAILED:
                return Verdict.DONE
            case OutcomeKind.UNKNOWN if self.unknown == "keep":
                return Verdict.DONE
        # A redriven job carries its next number, so that attempts stay distinct.
        if max(attempt, 1) % self.max_attempts == 0:
            return Verdict.EXHAUSTED
        return Verdict.AGAIN

    def wait(
        self,
        attempt: int,
        retry_after: timedelta | None = None,
        chance: Callable[[], float] = random.random,
    ) -> timedelta:
        """The wait after that attempt: its place in the schedule +-20 %.

        With ``retry_after`` at least that, and up to 20 % more, so that those who were
        told the same time do not return together.
        """
        if not self.waits:
            return timedelta(0)
        place = (max(attempt, 1) - 1) % self.max_attempts
        planned = self.waits[min(place, len(self.waits) - 1)]
        planned *= 1 - JITTER + 2 * JITTER * chance()
        if retry_after is None:
            return planned
        asked = min(retry_after, LONGEST_RETRY_AFTER) * (1 + JITTER * chance())
        return max(planned, asked)
