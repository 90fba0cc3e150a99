"""Whether a person wants something on a channel: which of the switches wins. Pure.

A channel's own switch that is off is off for everything. Else the most specific switch
that is set decides, and without one it is wanted::

    type and channel   category_channels[type][channel]
    type               categories[type]
    category, channel  category_channels[category][channel]
    category           categories[category]

What the person says comes before what the tenant's defaults say, however specific:
first all four of the person, then all four of the defaults. So somebody who switches a
category off is not sent a type of it because the defaults have that type on; and who
asks for a category on a channel that the defaults switch off gets it there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from clarion.api.recipients.v1.recipient_pb2 import Preferences

CHANNEL = "channel_disabled"
CATEGORY = "category_disabled"
CATEGORY_CHANNEL = "category_channel_disabled"

SWITCHES = {
    name.removesuffix("_enabled"): name
    for name in Preferences.DESCRIPTOR.fields_by_name
    if name.endswith("_enabled")
}


def unwanted(preferences: Preferences, names: Sequence[str], channel: str) -> str:
    """The reason why it is not wanted, or nothing.

    ``names`` are those of the type and of its category, the more specific first.
    """
    switch = SWITCHES.get(channel)
    if (
        switch is not None
        and not getattr(preferences, switch)
        and preferences.HasField(switch)  # type: ignore[arg-type]
        and not (
            switch in preferences.inherited
            and _is_asked_for(preferences, names, channel)
        )
    ):
        return CHANNEL
    if not (preferences.categories or preferences.category_channels):
        return ""
    inherited: Collection[str] = preferences.inherited
    if not inherited:
        for _, wanted, reason in _settings(preferences, names, channel):
            return "" if wanted else reason
        return ""
    found = list(_settings(preferences, names, channel))
    # Stable: within what the person says, and within the defaults, the order stays.
    found.sort(key=lambda setting: setting[0] in inherited)
    return "" if not found or found[0][1] else found[0][2]


def _settings(
    preferences: Preferences, names: Sequence[str], channel: str
) -> Iterator[tuple[str, bool, str]]:
    """(value, whether wanted, reason where not) of what is set, most specific first."""
    categories = preferences.categories
    by_category = preferences.category_channels
    for name in names:
        # Asked first: looking up a map of messages adds what is not there.
        if name in by_category:
            channels = by_category[name].channels
            if channel in channels:
                value = f"category_channels.{name}.{channel}"
                yield value, channels[channel], CATEGORY_CHANNEL
        if name in categories:
            yield f"categories.{name}", categories[name], CATEGORY


def _is_asked_for(preferences: Preferences, names: Sequence[str], channel: str) -> bool:
    """Whether the person has it on for this channel, with nothing more specific off."""
    for value, wanted, reason in _settings(preferences, names, channel):
        if value not in preferences.inherited:
            if not wanted:
                return False
            if reason == CATEGORY_CHANNEL:
                return True
    return False
