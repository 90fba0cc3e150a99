"""The router's own settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from clarion.router.in_hand import DEFAULT_MOST
from clarion.router.overflowing import CALM
from clarion.router.riding import CALM as RIDE_CALM
from clarion.runtime.streams import CHANNELS


@dataclass(frozen=True, slots=True)
class Settings:
    """How notifications are accepted and routed."""

    channels: str = "push,email,sms,in_app"
    """The channels that the mesh has, with commas."""
    max_notification_bytes: int = 65_536
    """The largest notification, encoded."""
    max_schedule: timedelta = timedelta(days=5 * 366)
    """How far ahead a notification may be scheduled."""
    idempotency_window: timedelta = timedelta(days=30)
    """How long an idempotency key is remembered, in Valkey."""
    idempotency_patience: timedelta = timedelta(milliseconds=100)
    """How long accepting waits for Valkey before it goes on without."""
    cancel_window: timedelta = timedelta(days=9)
    """How long a cancel is looked at by the channels; longer than any retry lasts and
    than a notification waits for a weekly limit: it may be deferred while it is
    cancelled."""
    collapse_window: timedelta = timedelta(days=10)
    """How long a notification takes the place of older ones with its collapse key;
    longer than what is cancelled may still wait."""
    tenant_share: int = 100
    """How many notifications a second a tenant may send in each lane before the rest
    goes by the lane's overflow; counted by every router for itself."""
    tenant_burst: int = 300
    """How many of them at once."""
    tenant_calm: timedelta = CALM
    """While what is in a lane waits for less than this, all of a tenant stays in it."""
    ride_calm: timedelta = RIDE_CALM
    """While nothing in any lane waits for longer, small requests travel as a whole by
    the highest of their lanes; zero: never."""
    accept_in_hand: int = DEFAULT_MOST
    """How many notifications are accepted at once; a call beyond has to come back."""
    route_concurrency: int = 2
    """How many batches of each lane, and of its overflow, are routed at a time."""
    route_messages: int = 128
    """How many messages one batch takes at most."""
    neighbour_deadline: timedelta = timedelta(seconds=5)
    """How long one call to a neighbour may take before it is tried again."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.channel_names()) - set(CHANNELS))
        if unknown or not self.channel_names():
            raise ValueError(
                f"CLARION_CHANNELS names {', '.join(unknown) or 'no channel'}: "
                f"there are {', '.join(CHANNELS)}"
            )

    def channel_names(self) -> tuple[str, ...]:
        """The channels of the mesh."""
        return tuple(name.strip() for name in self.channels.split(",") if name.strip())
