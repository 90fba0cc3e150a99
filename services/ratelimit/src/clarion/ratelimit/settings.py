"""The settings of the rate limiter, besides those every service shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """How permits are judged."""

    ratelimit_chunk: int = 500
    """Items in one call of the script, during which Valkey serves nobody else."""
    ratelimit_policy_cache: timedelta = timedelta(seconds=1)
    """How late a limit set through another replica may be noticed."""
    ratelimit_patience: timedelta = timedelta(seconds=1)
    """How long one batch waits for Valkey before on_failure decides."""

    def __post_init__(self) -> None:
        if not 1 <= self.ratelimit_chunk <= 5000:
            raise ValueError("CLARION_RATELIMIT_CHUNK is out of range: give 1 to 5000")
