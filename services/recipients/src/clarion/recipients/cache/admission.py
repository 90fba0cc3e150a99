"""Who is worth a place in the cache: pure bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from time import monotonic

_SLOTS = 1 << 22
FREELY = 10_000
"""People of a span that are cached at first sight."""
_MOST = _SLOTS // 4
"""People after which a span ends early, so that its slots tell people apart."""


class Admission:
    """Lets people into the cache whom it will probably be asked for again.

    Filling costs more than a hit saves, so a person that is asked for once in the life
    of a value should not be filled in. Beyond the first ten thousand of a span (the
    life of a value) only those are who were asked for in this span or the one before.
    Slots are shared by hash: now and then somebody gets in too early.
    """

    def __init__(self, span: timedelta, clock: Callable[[], float] = monotonic) -> None:
        self._span = span.total_seconds()
        self._clock = clock
        self._seen, self._before = bytearray(_SLOTS), bytearray(_SLOTS)
        self._count = 0
        self._ends = clock() + self._span

    def admitted(self, tenant: str, user_ids: Iterable[str]) -> list[str]:
        """Those of them to be filled in; notes that all of them were asked for."""
        if self._clock() >= self._ends or self._count >= _MOST:
            self._begin()
        seen, before = self._seen, self._before
        admitted, count = [], self._count
        for user_id in user_ids:
            slot = hash((tenant, user_id)) & (_SLOTS - 1)
            if not seen[slot]:
                seen[slot] = 1
                count += 1
                if count > FREELY and not before[slot]:
                    continue
            admitted.append(user_id)
        self._count = count
        return admitted

    def _begin(self) -> None:
        now = self._clock()
        is_recent = now < self._ends + self._span
        self._before = self._seen if is_recent else bytearray(_SLOTS)
        self._seen = bytearray(_SLOTS)
        self._count = 0
        self._ends = now + self._span
