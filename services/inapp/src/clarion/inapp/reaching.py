"""What was read stops escalations, also when Valkey is away for a while.

A read never waits for it: what cannot be marked soon is kept beside the inbox, and
marked as soon as Valkey is back, also when this process is gone by then. Escalations
that fall due meanwhile wait as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from clarion.inapp.unmarked import Unmarked
from clarion.runtime.delivery.reached import READ, Reached
from clarion.runtime.errors import TransientError, UnavailableError
from clarion.runtime.retry import backoff

_log = logging.getLogger(__name__)

PATIENCE = 0.25
"""Seconds that a read waits for its mark."""
_MOST_AT_ONCE = 500
_SHORTEST_WAIT = 0.05


class Reaching:
    """Marks what was read. One for a process; ``run`` is its background task."""

    def __init__(self, reached: Reached, unmarked: Unmarked) -> None:
        self._reached = reached
        self._unmarked = unmarked
        self._some = asyncio.Event()
        # A process before this one may have left some.
        self._some.set()

    async def read(self, tenant: str, notification_ids: Sequence[str]) -> None:
        """Marks them as read now, or soon; it does not raise for Valkey being down.

        Raises UnavailableError when they cannot even be kept.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._reached.mark(tenant, notification_ids, READ)
        except (UnavailableError, TimeoutError):
            _log.warning("marks of reads wait", extra={"marks": len(notification_ids)})
            await self._unmarked.keep(tenant, notification_ids)
            self._some.set()

    async def run(self) -> None:
        """Marks what was kept, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            tries = 0
            while True:
                try:
                    if not await self._mark_some():
                        break
                    tries = 0
                except TransientError:
                    tries += 1
                    wait = backoff(tries).total_seconds()
                    await asyncio.sleep(max(wait, _SHORTEST_WAIT))

    async def _mark_some(self) -> bool:
        """Whether there were any."""
        some = await self._unmarked.some(_MOST_AT_ONCE)
        for tenant, ids in some.items():
            await self._reached.mark(tenant, ids, READ)
            await self._unmarked.remove(tenant, ids)
        return bool(some)
