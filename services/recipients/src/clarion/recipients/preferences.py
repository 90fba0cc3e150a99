"""What a person wants: how a change is merged, what is in effect. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients import given_names
from clarion.recipients.preference_values import SWITCHES, Value, has, value_of
from clarion.runtime import time_zones
from clarion.runtime.errors import FieldViolation

_KEPT_BY_US = (
    "user_id",
    "version",
    "updated_time",
    "defaults_version",
    "inherited",
    "critical_types",
    "warnings",
)
_NO_DEFAULTS = Preferences()
_NOTHING = Preferences()


def violations(change: Preferences, user_id: str) -> list[FieldViolation]:
    """What is wrong with a change, beyond the rules of the contract.

    Of a tenant's defaults ``user_id`` is empty.
    """
    found = []
    if change.user_id and change.user_id != user_id:
        text = "is another person" if user_id else "is not part of the defaults"
        found.append(
            FieldViolation(
                "preferences.user_id", f"{text}: leave it out", "user_id.same"
            )
        )
    zone = change.quiet_hours.timezone
    if zone and not time_zones.is_time_zone(zone):
        found.append(
            FieldViolation(
                "preferences.quiet_hours.timezone", time_zones.REMEDY, "timezone.known"
            )
        )
    for name, switches in sorted(change.category_channels.items()):
        for channel in sorted(switches.channels):
            field = f'preferences.category_channels["{name}"].channels["{channel}"]'
            found += given_names.channel(channel, field)
    for place, name in enumerate(change.inherited):
        if value_of(name) is None:
            found.append(
                FieldViolation(
                    f"preferences.inherited[{place}]",
                    "is not the name of a value of the preferences",
                    "inherited.known",
                )
            )
    return found


def merged(
    stored: Preferences, change: Preferences, defaults: Preferences | None = None
) -> Preferences:
    """The stored preferences with the change: what is not given is kept.

    A map's entry takes the place of the entry of that name. Quiet hours are replaced
    as a whole; without start and end there are none, whatever the defaults say. What
    the change names as inherited is not the person's own any more, unless it is given
    and differs from what would be inherited.
    """
    result, change = _copy(stored), _copy(change)
    for value in _values(change.inherited):
        if not value.is_in(change) or value.is_same(
            change, with_built_in(defaults or _NO_DEFAULTS)
        ):
            value.clear(change)
            value.clear(result)
    for switch in SWITCHES:
        if has(change, switch):
            setattr(result, switch, getattr(change, switch))
    for name, wanted in change.categories.items():
        result.categories[name] = wanted
    for name, limit in change.frequency_limits.items():
        result.frequency_limits[name].CopyFrom(limit)
    for name, channels in change.category_channels.items():
        result.category_channels[name].CopyFrom(channels)
    if change.HasField("quiet_hours"):
        result.quiet_hours.CopyFrom(change.quiet_hours)
        if not change.quiet_hours.start:
            result.quiet_hours.Clear()
            result.quiet_hours.SetInParent()
    return bare(result)


def bare(preferences: Preferences) -> Preferences:
    """Only what somebody decides, in place: without what the service keeps or tells."""
    for field in _KEPT_BY_US:
        preferences.ClearField(field)  # type: ignore[arg-type]
    return preferences


def is_bare(preferences: Preferences) -> bool:
    """Whether nothing at all is decided."""
    return bare(_copy(preferences)) == _NOTHING


def effective(own: Preferences, defaults: Preferences) -> Preferences:
    """The person's own values and, where there is none, those of the defaults.

    Each switch, each entry of a map, each channel of a category and the quiet hours
    are one value. ``inherited`` names what comes from the defaults.
    """
    result, inherited = _copy(own), []
    for switch in SWITCHES:
        if has(defaults, switch) and not has(own, switch):
            setattr(result, switch, getattr(defaults, switch))
            inherited.append(switch)
    for name, wanted in defaults.categories.items():
        if name not in own.categories:
            result.categories[name] = wanted
            inherited.append(f"categories.{name}")
    for name, limit in defaults.frequency_limits.items():
        if name not in own.frequency_limits:
            result.frequency_limits[name].CopyFrom(limit)
            inherited.append(f"frequency_limits.{name}")
    for name, switches in defaults.category_channels.items():
        # Also makes the entry, if it is missing.
        channels = result.category_channels[name].channels
        for channel, wanted in switches.channels.items():
            if channel not in channels:
                channels[channel] = wanted
                inherited.append(f"category_channels.{name}.{channel}")
    if defaults.HasField("quiet_hours") and not own.HasField("quiet_hours"):
        result.quiet_hours.CopyFrom(defaults.quiet_hours)
        inherited.append("quiet_hours")
    if not result.quiet_hours.start:
        result.ClearField("quiet_hours")
    result.inherited[:] = inherited
    result.defaults_version = defaults.version
    return result


def with_built_in(preferences: Preferences) -> Preferences:
    """The preferences in which every channel switch has a value: what is in effect."""
    result = _copy(preferences)
    for switch in SWITCHES:
        if not has(result, switch):
            setattr(result, switch, True)
            result.inherited.append(switch)
    if not result.quiet_hours.start:
        result.ClearField("quiet_hours")
    return result


def _values(names: Iterable[str]) -> Iterator[Value]:
    for name in names:
        value = value_of(name)
        if value is not None:
            yield value


def _copy(preferences: Preferences) -> Preferences:
    copy = Preferences()
    copy.CopyFrom(preferences)
    return copy
