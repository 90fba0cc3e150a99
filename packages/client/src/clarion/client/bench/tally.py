"""What became of everything, counted in the tables of tracking and by the sinks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

# clarion.tracking.state.Status and its attempt outcomes, as they are stored.
_WAITING = ("deferred", "digested", "planned", "retrying", "unknown")
_STATUSES = (
    *_WAITING,
    "skipped",
    "rate_limited",
    "suppressed",
    "cancelled",
    "superseded",
    "expired",
    "failed",
    "dead_lettered",
    "sent",
    "delivered",
    "opened",
    "clicked",
    "read",
)
_SENT_ATTEMPT = 4
_DELIVERIES = """
SELECT status, count(*) FROM tracking.deliveries GROUP BY status
"""
_LATENCY = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (
    ORDER BY extract(epoch FROM a.attempt_time - n.accepted_time) * 1000)
FROM tracking.notifications AS n CROSS JOIN LATERAL unnest(n.attempts) AS a
WHERE a.outcome = %s AND n.accepted_time BETWEEN to_timestamp(%s) AND to_timestamp(%s)
"""
_SENT_UNTIL = """
WITH sent AS (
    SELECT extract(epoch FROM a.attempt_time) AS at
    FROM tracking.notifications AS n CROSS JOIN LATERAL unnest(n.attempts) AS a
    WHERE a.outcome = %s AND a.attempt_time >= to_timestamp(%s)
), gaps AS (SELECT at, at - lag(at) OVER (ORDER BY at) AS gap FROM sent)
SELECT max(at)::float8, max(gap)::float8 FROM gaps
"""
_SIZES = """
SELECT coalesce(sum(size) FILTER (WHERE relname LIKE 'events%'), 0)::bigint,
    coalesce(sum(size) FILTER (WHERE relname NOT LIKE 'events%'), 0)::bigint,
    pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
    LATERAL pg_total_relation_size(c.oid) AS size
WHERE n.nspname = 'tracking' AND c.relkind = 'r'
"""
_STORED = """
SELECT sum(n_tup_ins)::bigint FROM pg_stat_user_tables WHERE schemaname = 'tracking'
"""


@dataclass(slots=True)
class Tally:
    """The rows of one run on a fresh stack."""

    notifications: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """Deliveries by where they ended."""
    sent: int = 0
    """Distinct deliveries with an attempt that a provider took."""

    @property
    def ended(self) -> int:
        """Deliveries that wait for nothing any more."""
        return sum(
            count for name, count in self.statuses.items() if name not in _WAITING
        )


class Tracked:
    """Reads tracking's tables; a connection of its own."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, url: str) -> Tracked:
        """Opens the connection."""
        return cls(await psycopg.AsyncConnection.connect(url, autocommit=True))

    async def close(self) -> None:
        """Closes it."""
        await self._connection.close()

    async def rows(self) -> int:
        """Rows written so far, by the server's statistics: cheap, 1 s behind."""
        rows = await self._connection.execute(_STORED)
        row = await rows.fetchone()
        return int(row[0] or 0) if row else 0

    async def sizes(self) -> tuple[int, int, int]:
        """Bytes of the event log, of tracking's other tables, and of the WAL so far.

        Indexes are included.
        """
        rows = await self._connection.execute(_SIZES)
        row = await rows.fetchone()
        assert row is not None
        return int(row[0]), int(row[1]), int(row[2])

    async def count(self) -> Tally:
        """Counts every row."""
        tally = Tally()
        tally.notifications = await self.notifications()
        rows = await self._connection.execute(_DELIVERIES)
        tally.statuses = {_STATUSES[s]: n for s, n in await rows.fetchall()}
        tally.sent = await self._one(
            "SELECT count(DISTINCT (notification_id, delivery_id)) FROM attempts "
            f"WHERE outcome = {_SENT_ATTEMPT}"
        )
        return tally

    async def notifications(self) -> int:
        """Those that are known."""
        return await self._one("SELECT count(*) FROM notifications")

    async def sent_until(self, start: float) -> tuple[float, float]:
        """When the last attempt since then was made, and the longest wait for one."""
        rows = await self._connection.execute(_SENT_UNTIL, (_SENT_ATTEMPT, start))
        row = await rows.fetchone()
        last, gap = row or (None, None)
        return last or start, gap or 0.0

    async def latency_ms(self, start: float, end: float) -> dict[str, float]:
        """From accepting to the provider, of those accepted between two instants."""
        rows = await self._connection.execute(_LATENCY, (_SENT_ATTEMPT, start, end))
        row = await rows.fetchone()
        p50, p99 = (row and row[0]) or (0.0, 0.0)
        return {"p50": round(p50, 1), "p99": round(p99, 1)}

    async def _one(self, statement: str) -> int:
        rows = await self._connection.execute(
            statement.replace("FROM ", "FROM tracking.").encode()
        )
        row = await rows.fetchone()
        return int(row[0]) if row else 0


def taken_by_sinks(logs: Path) -> Counter[str]:
    """What the sinks counted, by channel; to be read when the services have ended.

    A delivery that is sent twice folds in tracking, but counts twice here. A process
    that was killed told nothing.
    """
    taken: Counter[str] = Counter()
    for path in logs.glob("*.log*"):
        for line in path.read_text(errors="replace").splitlines():
            if "dry run ended" in line:
                entry = json.loads(line)
                taken[entry["channel"]] += entry["taken"]
    return taken
