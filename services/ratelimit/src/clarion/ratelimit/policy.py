"""Which limit holds for a category: the built-in ones, the tenant's, the person's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from clarion.ratelimit.window import Limit

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


@dataclass(frozen=True, slots=True)
class Policies:
    """A tenant's limits: what it has set, over the built-in ones."""

    overrides: Mapping[str, PartialLimit] = field(default_factory=dict)

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
        return Policies(overrides)
