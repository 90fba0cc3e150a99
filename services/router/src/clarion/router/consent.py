"""Whether a person took back the consent to something. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from clarion.api.recipients.v1.consent_service_pb2 import Consent
from clarion.router.admission import seconds

WITHDRAWN = "consent_withdrawn"


def last_word(
    consents: Iterable[Consent], names: Collection[str], channel: str
) -> Consent | None:
    """The entry given last of those that are about it; None where there is none.

    An entry without channel or category is about all of them. Which one is more
    specific does not matter: who takes everything back takes back what was given for
    one category before, and who gives it for one category after that means it.
    """
    return max(
        (
            entry
            for entry in consents
            if entry.channel in ("", channel)
            and (not entry.category or entry.category in names)
        ),
        key=_age,
        default=None,
    )


def is_withdrawn(
    consents: Iterable[Consent], names: Collection[str], channel: str
) -> bool:
    """Whether the last word on it is no."""
    entry = last_word(consents, names, channel)
    return entry is not None and not entry.granted


def _age(entry: Consent) -> tuple[float, bool]:
    # Of two at one instant the one that takes back counts.
    return seconds(entry.given_time), not entry.granted
