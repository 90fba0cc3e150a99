"""How often Twilio posts a webhook again: by the fragment of its URL.

Source: Twilio, "Webhooks: Connection Overrides".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

_MOST = 5
_APART = timedelta(seconds=1)
_ANSWERED = frozenset({"all", "4xx", "5xx"})


@dataclass(frozen=True, slots=True)
class Overrides:
    """Without any, it tries once more when it finds nobody listening."""

    retries: tuple[timedelta, ...] = (_APART,)
    """Waits before further attempts."""
    retry_on_status: bool = False
    """Whether an answer that is no success is one to repeat."""


def overrides_of(url: str) -> Overrides:
    """Of ``#rc=5&rp=all``: ``rc`` retries, 5 at most, by the policies ``rp``."""
    fragment = urlsplit(url).fragment
    if not fragment:
        return Overrides()
    given = dict(parse_qsl(fragment))
    count = given.get("rc", "")
    return Overrides(
        (_APART,) * (min(int(count), _MOST) if count.isdecimal() else 1),
        not _ANSWERED.isdisjoint(given.get("rp", "").split(",")),
    )
