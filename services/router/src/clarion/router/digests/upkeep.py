"""Looking after digests: timers that were lost, and what may be forgotten.

All routers do this at the same time: a timer that is set twice is one, and what it
fires twice is folded.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from clarion.router.digests.collecting import Digests
from clarion.router.digests.table import DigestTable
from clarion.runtime.clock import Clock
from clarion.runtime.errors import TransientError

_log = logging.getLogger(__name__)

EVERY = timedelta(seconds=30)
_GRACE = timedelta(seconds=30)
"""How late a timer may be before it counts as lost."""
KEPT = timedelta(days=7)
"""How long what was sent is known; longer than anything is redelivered."""
_PAGE = 500


class Upkeep:
    """Repairs and prunes, again and again."""

    def __init__(self, table: DigestTable, digests: Digests, clock: Clock) -> None:
        self._table = table
        self._digests = digests
        self._clock = clock

    async def run(self) -> None:
        """At once and then every half minute, until it is cancelled."""
        while True:
            try:
                await self.look()
            except TransientError as error:
                _log.warning("digests not looked after", extra={"detail": str(error)})
            except Exception:  # the edge: digests must not stop the router
                _log.exception("digests not looked after")
            await asyncio.sleep(EVERY.total_seconds())

    async def look(self) -> int:
        """Sets the timers of what is overdue and forgets what is old; how many timers.

        Raises TransientError.
        """
        now = self._clock.now()
        late = await self._table.overdue(now - _GRACE, _PAGE)
        for window in late:
            await self._digests.set_timer(window)
        if late:
            _log.warning("digest timers repaired", extra={"count": len(late)})
        while await self._table.prune(now - KEPT, _PAGE) == _PAGE:
            pass
        return len(late)
