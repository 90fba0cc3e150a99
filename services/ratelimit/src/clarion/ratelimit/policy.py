"""Which limit holds for a category: the built-in ones, the tenant's, the person's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from clarion.ratelimit.counters import WHOLE, Counter, category_windows
from clarion.ratelimit.limit_policy import CLOSED, LimitPolicy, is_closed, scope
from clarion.ratelimit.window import DAY, WEEK, Limit, Refusal, Window

DEFAULT = "default"
"""The policy of every category that has none of its own."""

MAX_OVERRIDES = 1000
"""Categories with a limit of the tenant's own: all are read once a second."""

BUILT_IN: Mapping[str, Limit] = MappingProxyType(
    {
        "promotional": Limit(daily=3, weekly=10),
        "order_updates": Limit(daily=50, weekly=200),
        "security": Limit(daily=100, weekly=500),
        DEFAULT: Limit(daily=100, weekly=500),
    }
)


class PartialLimit(NamedTuple):
    """A limit of which either window may be left open."""

    daily: int | None = None
    weekly: int | None = None

    def over(self, default: Limit) -> Limit:
        """This limit, with the default where it is open."""
        return Limit(
            default.daily if self.daily is None else self.daily,
            default.weekly if self.weekly is None else self.weekly,
        )

    def stricter(self, other: Limit) -> Limit:
        """For each window the smaller of the two."""
        return Limit(
            other.daily if self.daily is None else min(self.daily, other.daily),
            other.weekly if self.weekly is None else min(self.weekly, other.weekly),
        )


class Asked(NamedTuple):
    """What limits besides those of a category look at."""

    type: str = ""
    channels: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()
    """Those that the type was registered with."""
    personal: PartialLimit | None = None
    """The person's own limit of the type."""


@dataclass(frozen=True, slots=True)
class Policies:
    """A tenant's limits: what it has set, over the built-in ones."""

    overrides: Mapping[str, PartialLimit] = field(default_factory=dict)
    scoped: tuple[LimitPolicy, ...] = ()
    """Those by category, type and channel, ordered by id."""

    def limit(self, category: str) -> Limit:
        """The tenant's limit of a category, known or not."""
        default = BUILT_IN.get(category)
        if default is None:
            default = BUILT_IN[DEFAULT]
            if category != DEFAULT:
                default = self.overrides.get(DEFAULT, PartialLimit()).over(default)
        override = self.overrides.get(category)
        return default if override is None else override.over(default)

    def all(self) -> dict[str, Limit]:
        """Every category that has a policy, ``default`` included, ordered by name."""
        return {
            category: self.limit(category)
            for category in sorted(BUILT_IN.keys() | self.overrides.keys())
        }

    def with_override(self, category: str, limit: PartialLimit) -> Policies:
        """These policies with one of them replaced; open in both windows removes it."""
        overrides = {**self.overrides, category: limit}
        if limit == PartialLimit():
            del overrides[category]
        return Policies(overrides, self.scoped)

    def counters(
        self, category: str, personal: PartialLimit | None, asked: Asked
    ) -> tuple[Counter, ...]:
        """All counters of a permit, that of its category first.

        Empty where there is only that one and it has no other windows.
        """
        windows: dict[tuple[str, str], list[Window]] = {}
        for policy in self.scoped:
            if not policy.windows or not policy.is_about(category, asked.type):
                continue
            if policy.channel == WHOLE or policy.channel in asked.channels:
                name = scope(policy.category, policy.type, policy.channel)
                windows.setdefault((policy.channel, name), []).extend(policy.windows)
        own = _own_windows(asked)
        if own:
            windows.setdefault((WHOLE, scope("", asked.type)), []).extend(own)
        if not windows:
            return ()
        first = self._category_windows(category, personal)
        first += tuple(windows.pop((WHOLE, category), ()))
        return (
            Counter(category, WHOLE, first),
            *(
                Counter(name, channel, tuple(found))
                for (channel, name), found in sorted(windows.items())
            ),
        )

    def scopes(self, category: str, asked: Asked | None) -> tuple[str, ...]:
        """Where a permit may be counted: all of it, or only what is of the channels."""
        if asked is None:
            return (category,)
        names = {
            scope(policy.category, policy.type, policy.channel)
            for policy in self.scoped
            if policy.windows
            and policy.is_about(category, asked.type)
            and (not asked.channels or policy.channel in asked.channels)
        }
        if not asked.channels:
            names |= {category, scope("", asked.type)} if asked.type else {category}
        return tuple(sorted(names))

    def blamed(self, category: str, personal: PartialLimit | None, span: int) -> str:
        """Whose the day's or the week's window of a category is."""
        by_itself = self.limit(category)
        if personal is not None:
            stricter = personal.stricter(by_itself)
            place = 0 if span == DAY else 1
            if stricter[place] < by_itself[place]:
                return f"personal:{category}"
        return f"category:{category}"

    def closed_channels(self, category: str, asked: Asked | None) -> list[Refusal]:
        """The channels that wait while nothing can be counted; that of all is ''."""
        type_, channels = (asked.type, asked.channels) if asked else ("", ())
        said: dict[str, set[str]] = {WHOLE: set()}
        for policy in self.scoped:
            if policy.on_failure and policy.is_about(category, type_):
                said.setdefault(policy.channel, set()).add(policy.on_failure)
        if is_closed(said[WHOLE], category):
            return [Refusal(WHOLE, unchecked=True)]
        return [
            Refusal(channel, unchecked=True)
            for channel in channels
            if CLOSED in said.get(channel, ())
        ]

    def _category_windows(
        self, category: str, personal: PartialLimit | None
    ) -> tuple[Window, ...]:
        limit = self.limit(category)
        return category_windows(
            limit if personal is None else personal.stricter(limit),
            self.blamed(category, personal, DAY),
            self.blamed(category, personal, WEEK),
        )


def _own_windows(asked: Asked) -> list[Window]:
    """The windows that come with a permit, for its type."""
    windows = list(asked.windows)
    if asked.personal is not None:
        for span, most in zip((DAY, WEEK), asked.personal, strict=True):
            if most is not None:
                windows.append(Window(span, most, f"personal:{asked.type}"))
    return windows
