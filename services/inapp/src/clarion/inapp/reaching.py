"""What was read stops escalations, also when Valkey is away for a while.

A read never waits for it: a mark that cannot be stored soon is kept here and stored as
soon as Valkey is back. Escalations that fall due meanwhile wait as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from clarion.runtime.delivery.reached import READ, Reached
from clarion.runtime.errors import UnavailableError
from clarion.runtime.retry import backoff

_log = logging.getLogger(__name__)

PATIENCE = 0.25
"""Seconds that a read waits for its mark."""
MOST_KEPT = 200_000
"""Marks that wait, each some 200 bytes; of more, the oldest are given up."""
_MOST_AT_ONCE = 500
_SHORTEST_WAIT = 0.05


class Reaching:
    """Marks what was read. One for a process; ``run`` is its background task."""

    def __init__(self, reached: Reached) -> None:
        self._reached = reached
        # Ordered, and each once.
        self._waiting: dict[tuple[str, str], None] = {}
        self._some = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many marks are not stored yet."""
        return len(self._waiting)

    async def read(self, tenant: str, notification_ids: Sequence[str]) -> None:
        """Marks them as read now, or soon; never raises for a server that is down."""
        if not self._waiting:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._reached.mark(tenant, notification_ids, READ)
            except (UnavailableError, TimeoutError):
                _log.warning(
                    "marks of reads wait", extra={"marks": len(notification_ids)}
                )
            else:
                return
        self._waiting.update(((tenant, id), None) for id in notification_ids)
        given_up = len(self._waiting) - MOST_KEPT
        if given_up > 0:
            for oldest in list(self._waiting)[:given_up]:
                del self._waiting[oldest]
            _log.error("marks of reads given up", extra={"marks": given_up})
        self._some.set()

    async def run(self) -> None:
        """Stores what waits, until cancelled."""
        while True:
            await self._some.wait()
            tries = 0
            while self._waiting:
                if await self._store_some():
                    tries = 0
                    continue
                tries += 1
                wait = backoff(tries).total_seconds()
                await asyncio.sleep(max(wait, _SHORTEST_WAIT))
            self._some.clear()

    async def close(self) -> None:
        """A last try."""
        while self._waiting and await self._store_some():
            pass

    async def _store_some(self) -> bool:
        tenant = next(iter(self._waiting))[0]
        ids = [id for whose, id in self._waiting if whose == tenant][:_MOST_AT_ONCE]
        try:
            await self._reached.mark(tenant, ids, READ)
        except UnavailableError:
            return False
        for id in ids:
            self._waiting.pop((tenant, id), None)
        return True
