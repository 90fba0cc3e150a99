"""The types that a person cannot switch off, and what they leave without effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from clarion.api.recipients.v1.recipient_pb2 import (
    CriticalType,
    Preferences,
    PreferenceWarning,
)

UNKNOWN = "critical_types_unknown"
OF_TYPE = "critical_type"
OF_CATEGORY = "critical_category"


class CriticalTypes(Protocol):
    """Knows which types of a tenant are critical."""

    async def of(self, tenant: str) -> Sequence[CriticalType] | None:
        """By name, at most seconds old or as known last; None when never heard of.

        Never raises.
        """
        ...


class NoCriticalTypes:
    """Implements CriticalTypes where there is no router to ask."""

    async def of(self, tenant: str) -> Sequence[CriticalType] | None:
        return None


def shown(
    preferences: Preferences, critical: Sequence[CriticalType] | None
) -> Preferences:
    """Adds the critical types and what has no effect because of them, in place."""
    if critical is None:
        preferences.warnings.add(
            reason=UNKNOWN,
            description="which types are critical is not known at the moment",
        )
        return preferences
    preferences.critical_types.extend(critical)
    preferences.warnings.extend(_warnings(preferences, critical))
    return preferences


def _warnings(
    preferences: Preferences, critical: Sequence[CriticalType]
) -> Iterator[PreferenceWarning]:
    for field, name in sorted(_switched_off(preferences)):
        if any(one.type == name for one in critical):
            yield PreferenceWarning(
                field=field,
                reason=OF_TYPE,
                description=f"has no effect: {name} is critical and sent in any case",
                types=[name],
            )
            continue
        types = [one.type for one in critical if one.category == name]
        if types:
            yield PreferenceWarning(
                field=field,
                reason=OF_CATEGORY,
                description=f"has no effect on {', '.join(types)}: critical types of "
                f"{name} are sent in any case",
                types=types,
            )


def _switched_off(preferences: Preferences) -> Iterator[tuple[str, str]]:
    """(value, name of the type or category) of each switch by name that is off."""
    for name, wanted in preferences.categories.items():
        if not wanted:
            yield f"categories.{name}", name
    for name, switches in preferences.category_channels.items():
        for channel, wanted in switches.channels.items():
            if not wanted:
                yield f"category_channels.{name}.{channel}", name
