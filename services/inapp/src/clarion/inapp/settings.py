"""The in-app channel's own settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """How the inbox is watched."""

    heartbeat: timedelta = timedelta(seconds=15)
    """How often a watch says that it is alive, and looks for what it was not told."""
    most_watches: int = 5000
    """How many watches one process serves at a time."""
