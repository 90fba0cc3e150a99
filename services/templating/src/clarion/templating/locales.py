"""Which language is used for a person: pure."""

from __future__ import annotations

from collections.abc import Iterable


def normal(locale: str) -> str:
    """A BCP 47 tag as it is compared: case and the underscore make no difference."""
    return locale.replace("_", "-").lower()


def candidates(locale: str, default: str) -> list[str]:
    """What is tried, best first: de-AT gives de-at, de, then the default's tags."""
    tried: dict[str, None] = {}
    for tag in (normal(locale), normal(default)):
        while tag:
            tried[tag] = None
            tag = tag.rpartition("-")[0]
    return list(tried)


def choose(locale: str, default: str, available: Iterable[str]) -> str | None:
    """The language to use of those available; None where there is none at all.

    The person's own, then its shorter forms, then the default's, then any: of those
    the first one.
    """
    by_tag: dict[str, str] = {}
    for one in available:
        by_tag.setdefault(normal(one), one)
    for tag in candidates(locale, default):
        if tag in by_tag:
            return by_tag[tag]
    return next(iter(by_tag.values()), None)
