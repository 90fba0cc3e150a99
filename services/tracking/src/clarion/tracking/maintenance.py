"""Makes the days ahead and forgets what is too old."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from psycopg_pool import AsyncConnectionPool

from clarion.runtime.clock import Clock
from clarion.runtime.errors import UnavailableError
from clarion.tracking import partitions
from clarion.tracking.analytics import GRAIN_RETENTION
from clarion.tracking.database_errors import translated
from clarion.tracking.queries import QUERIES
from clarion.tracking.writer import TURN

_log = logging.getLogger(__name__)

_DAYS_AHEAD = 7
_EVERY = 3600.0
_AFTER_FAILURE = 15.0
_AT_ONCE = 5_000


class Maintenance:
    """Runs for ever; what fails is done at the next round."""

    def __init__(
        self,
        pool: AsyncConnectionPool,
        clock: Clock,
        *,
        event_retention: timedelta,
        record_retention: timedelta,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._event_retention = event_retention
        self._record_retention = record_retention

    async def run(self) -> None:
        """A round an hour."""
        while True:
            wait = _EVERY
            try:
                await self.round()
            except UnavailableError as error:
                _log.warning("maintenance put off", extra={"problem": str(error)})
                wait = _AFTER_FAILURE
            await asyncio.sleep(wait)

    async def round(self) -> None:
        """Everything that is due; raises UnavailableError."""
        with translated():
            await self._partitions()
            await self._forget()

    async def _partitions(self) -> None:
        today = self._clock.now().date()
        ahead = [today + timedelta(days=n) for n in range(_DAYS_AHEAD + 1)]
        # A day more than the consumer takes events for, so none loses its partition.
        oldest = today - self._event_retention - timedelta(days=1)
        async with self._pool.connection() as connection:
            await connection.execute(QUERIES["take_turn"], {"key": TURN})
            await partitions.create(connection, ahead)
        async with self._pool.connection() as connection:
            await connection.execute(QUERIES["take_turn"], {"key": TURN})
            dropped = await partitions.drop_before(connection, oldest)
        if dropped:
            days = [day.isoformat() for day in dropped]
            _log.info("old events dropped", extra={"days": days})

    async def _forget(self) -> None:
        now = self._clock.now()
        forgotten, before = _AT_ONCE, now - self._record_retention
        while forgotten >= _AT_ONCE:
            # A transaction for each part, so that writers get their turn in between.
            async with self._pool.connection() as connection:
                await connection.execute(QUERIES["take_turn"], {"key": TURN})
                cursor = await connection.execute(
                    QUERIES["forget_notifications"],
                    {"before": before, "limit": _AT_ONCE},
                )
                row = await cursor.fetchone()
                forgotten = row[0] if row else 0
        async with self._pool.connection() as connection:
            # Behind the notifications that they count.
            await connection.execute(
                QUERIES["forget_broadcast_states"], {"before": before}
            )
            for grain, kept in GRAIN_RETENTION.items():
                await connection.execute(
                    QUERIES["forget_counters"],
                    {"grain": grain.value, "before": now - kept},
                )
            await connection.execute(
                QUERIES["forget_rejected"], {"before": now - self._event_retention}
            )
