"""How long to wait before the next attempt: pure arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta


def ceiling(attempt: int, *, first: timedelta, most: timedelta) -> timedelta:
    """The longest wait after that many failed attempts (1 = after the first)."""
    # 2**40 of anything is above every cap, and larger exponents overflow timedelta.
    doublings = min(max(attempt, 1) - 1, 40)
    seconds = first.total_seconds() * float(1 << doublings)
    return timedelta(seconds=min(most.total_seconds(), seconds))


def backoff(
    attempt: int,
    *,
    first: timedelta = timedelta(milliseconds=100),
    most: timedelta = timedelta(seconds=30),
    at_least: timedelta | None = None,
    chance: Callable[[], float] = random.random,
) -> timedelta:
    """Exponential backoff with full jitter: anything from nothing to the ceiling.

    ``at_least`` is a wait that the other side asked for (Retry-After): jitter then
    comes on top, so that those who were told the same time do not return together.
    ``chance`` gives numbers in [0, 1).
    """
    jitter = ceiling(attempt, first=first, most=most) * chance()
    return jitter if at_least is None else at_least + jitter
