"""The settings of this service alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """What may be tuned."""

    profile_ttl: timedelta = timedelta(minutes=5)
    """How long a profile is cached; also how old one can get at most when Valkey was
    out of reach during a change and this process ended before it came back."""

    def __post_init__(self) -> None:
        if self.profile_ttl < timedelta(seconds=1):
            raise ValueError("CLARION_PROFILE_TTL_SECONDS must be 1 or more")
