"""The settings of the templates, besides those every service shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from clarion.templating.engine import DEFAULT_FUEL


@dataclass(frozen=True, slots=True)
class Settings:
    """How templates are rendered."""

    templating_published_cache: timedelta = timedelta(seconds=1)
    """How late a version published through another replica may be used."""
    templating_fuel: int = DEFAULT_FUEL
    """Steps that one rendering may take."""

    def __post_init__(self) -> None:
        if self.templating_fuel < 1_000:
            raise ValueError("CLARION_TEMPLATING_FUEL is too small: give 1000 or more")
