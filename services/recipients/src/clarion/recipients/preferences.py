"""What a person wants: how a change is merged, what the defaults are. Pure."""

from __future__ import annotations

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.runtime import time_zones
from clarion.runtime.errors import FieldViolation

SWITCHES = ("push_enabled", "email_enabled", "sms_enabled", "in_app_enabled")
_KEPT_BY_US = ("user_id", "version", "updated_time")


def violations(change: Preferences, user_id: str) -> list[FieldViolation]:
    """What is wrong with a change, beyond the rules of the contract."""
    found = []
    if change.user_id and change.user_id != user_id:
        found.append(
            FieldViolation(
                "preferences.user_id", "is another person: leave it out", "user_id.same"
            )
        )
    zone = change.quiet_hours.timezone
    if zone and not time_zones.is_time_zone(zone):
        found.append(
            FieldViolation(
                "preferences.quiet_hours.timezone", time_zones.REMEDY, "timezone.known"
            )
        )
    return found


def merged(stored: Preferences, change: Preferences) -> Preferences:
    """The stored preferences with the change: what is not given is kept.

    A map's entry takes the place of the entry of that name. Quiet hours are replaced
    as a whole; without start and end they are cleared.
    """
    result = Preferences()
    result.CopyFrom(stored)
    for switch in SWITCHES:
        if change.HasField(switch):  # type: ignore[arg-type]
            setattr(result, switch, getattr(change, switch))
    for name, wanted in change.categories.items():
        result.categories[name] = wanted
    for name, limit in change.frequency_limits.items():
        result.frequency_limits[name].CopyFrom(limit)
    for name, channels in change.category_channels.items():
        result.category_channels[name].CopyFrom(channels)
    if change.HasField("quiet_hours"):
        if change.quiet_hours.start:
            result.quiet_hours.CopyFrom(change.quiet_hours)
        else:
            result.ClearField("quiet_hours")
    return bare(result)


def bare(preferences: Preferences) -> Preferences:
    """Only what the person decides, in place: without what the service keeps."""
    for field in _KEPT_BY_US:
        preferences.ClearField(field)  # type: ignore[arg-type]
    return preferences


def with_defaults(stored: Preferences) -> Preferences:
    """The stored preferences in which every channel switch has a value."""
    result = Preferences()
    result.CopyFrom(stored)
    for switch in SWITCHES:
        if not result.HasField(switch):  # type: ignore[arg-type]
            setattr(result, switch, True)
    return result
