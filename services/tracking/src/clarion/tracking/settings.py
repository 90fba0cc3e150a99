"""The settings of tracking's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """See the README for what each does."""

    tracking_event_retention_days: int = 90
    """Older days of the event log are dropped: timelines, requests and decisions."""
    tracking_record_retention_days: int = 400
    """Older notifications are forgotten with their deliveries and attempts."""
    tracking_writers: int = 1
    """Batches under way at once."""

    def __post_init__(self) -> None:
        if self.tracking_event_retention_days < 8:
            # EVENTS keeps seven days, and what it brings must find its partition.
            raise ValueError(
                "CLARION_TRACKING_EVENT_RETENTION_DAYS is too small: give 8 or more"
            )
        if self.tracking_record_retention_days < self.tracking_event_retention_days:
            raise ValueError(
                "CLARION_TRACKING_RECORD_RETENTION_DAYS is less than "
                "CLARION_TRACKING_EVENT_RETENTION_DAYS: give as much or more"
            )
        if self.tracking_writers < 1:
            raise ValueError("CLARION_TRACKING_WRITERS is too small: give 1 or more")

    @property
    def event_retention(self) -> timedelta:
        """How long events are kept."""
        return timedelta(days=self.tracking_event_retention_days)

    @property
    def record_retention(self) -> timedelta:
        """How long notifications are kept."""
        return timedelta(days=self.tracking_record_retention_days)
