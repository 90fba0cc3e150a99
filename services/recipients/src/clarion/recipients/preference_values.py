"""The single values that preferences are made of, by name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clarion.api.recipients.v1.recipient_pb2 import Preferences

SWITCHES = ("push_enabled", "email_enabled", "sms_enabled", "in_app_enabled")
_FIELDS = (*SWITCHES, "quiet_hours")
_MAPS = ("categories", "frequency_limits")
_CHANNELS = "category_channels"


def has(preferences: Preferences, field: str) -> bool:
    """Whether a switch or the quiet hours are set."""
    return preferences.HasField(field)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Value:
    """One value: a field, an entry of a map, or a channel of a category."""

    field: str
    name: str = ""
    channel: str = ""

    def is_in(self, preferences: Preferences) -> bool:
        """Whether it is set there."""
        if not self.name:
            return has(preferences, self.field)
        entries: Any = getattr(preferences, self.field)
        # Asked first: looking up a map of messages adds what is not there.
        if self.name not in entries:
            return False
        return not self.channel or self.channel in entries[self.name].channels

    def is_same(self, one: Preferences, other: Preferences) -> bool:
        """Whether it is set to the same in both, or in neither."""
        return bool(self._get(one) == self._get(other))

    def clear(self, preferences: Preferences) -> None:
        """Takes it out of the preferences, in place."""
        if not self.is_in(preferences):
            return
        if not self.name:
            preferences.ClearField(self.field)  # type: ignore[arg-type]
            return
        entries = getattr(preferences, self.field)
        if not self.channel:
            del entries[self.name]
            return
        del entries[self.name].channels[self.channel]
        if not entries[self.name].channels:
            del entries[self.name]

    def _get(self, preferences: Preferences) -> Any:
        if not self.is_in(preferences):
            return None
        value = getattr(preferences, self.field)
        if self.name:
            value = value[self.name]
        if self.channel:
            value = value.channels[self.channel]
        return value


def value_of(name: str) -> Value | None:
    """The value of a name such as ``category_channels.news.sms``; None for no name."""
    if name in _FIELDS:
        return Value(name)
    field, _, entry = name.partition(".")
    if not entry:
        return None
    if field in _MAPS:
        return Value(field, entry)
    # Names of categories may have dots, those of channels have none.
    entry, _, channel = entry.rpartition(".")
    if field == _CHANNELS and entry and channel:
        return Value(field, entry, channel)
    return None
