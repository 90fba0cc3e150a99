"""How many notifications are being accepted at once: what is beyond comes back later.

Calls under way share one core, so each of them waits for all the others. Without a
bound a flood makes every call so slow that its caller gives up, and what was stored
after that is sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from clarion.router import metrics
from clarion.runtime.errors import OverloadedError

DEFAULT_MOST = 8000
_WAIT = timedelta(seconds=1)


class InHand:
    """Counts the notifications of the calls under way."""

    def __init__(self, most: int = DEFAULT_MOST) -> None:
        self._most = most
        self._now = 0

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Around a call with so many. A call that is larger than all room runs alone.

        Raises OverloadedError, with a wait, where there is no room.
        """
        if self._now and self._now + count > self._most:
            metrics.record_refused("overloaded", count)
            raise OverloadedError(
                "too many notifications are being accepted at once",
                retry_after=_WAIT,
            )
        self._now += count
        try:
            yield
        finally:
            self._now -= count
