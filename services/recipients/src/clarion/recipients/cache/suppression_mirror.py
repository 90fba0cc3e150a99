"""The suppressions in Valkey, where the channels look before every delivery.

Writers set keys inside their transaction before its commit and delete them so as well,
one writer of a tenant at a time: key and row follow the same order. What fails halfway
leaves a key without its row (nothing is sent, which is the safe side), or tells ``run``
to write all rows again.

A Valkey that was restarted may have lost everything or, with its append-only file, the
last second. ``run`` notices by the id of the server's run, kept in a marker. Then all
rows are written, and the cached profiles dropped, as drops may be among what was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import groupby
from typing import Any

from redis.asyncio import Redis

from clarion.recipients import metrics
from clarion.recipients.addresses import EMAIL, normalised
from clarion.recipients.tables import suppressions
from clarion.recipients.tables.suppressions import Stored
from clarion.recipients.transactions import Pool, transaction
from clarion.runtime.errors import UnavailableError
from clarion.runtime.keys import suppressed_key
from clarion.runtime.valkey import redis_errors

logger = logging.getLogger(__name__)

# Renamed when the values become others: so all rows are written again by a new release.
MARKER = "recipients:suppressions-mirrored:2"
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 1.0
_PAGE = 1000


class SuppressionMirror:
    """Keeps ``suppressed_key`` in step with the table."""

    def __init__(
        self, redis: Redis, pool: Pool, restarted: Callable[[], Awaitable[None]]
    ) -> None:
        """``restarted`` is called when Valkey may have lost writes."""
        self._redis: Any = redis
        self._restarted = restarted
        self._pool = pool
        self._is_behind = True

    async def set(
        self,
        tenant: str,
        addresses: Iterable[tuple[str, str, str]],
        emails: Collection[str] = (),
    ) -> None:
        """Marks (channel, address, reason), under every spelling; before the commit."""
        keys = {
            key: reason
            for channel, address, reason in addresses
            for key in _keys(tenant, [(channel, address)], emails)
        }
        try:
            await self._ask(self._redis.mset(keys))
        except UnavailableError:
            self._is_behind = True
            logger.warning("suppressions not mirrored yet", extra={"count": len(keys)})

    async def remove(
        self, tenant: str, channel: str, address: str, emails: Iterable[str] = ()
    ) -> None:
        """Unmarks an address. UnavailableError: then the removal must not commit, as
        nothing would ever take the key away."""
        keys = _keys(tenant, [(channel, address)], emails)
        await self._ask(self._redis.unlink(*keys))

    def doubt(self) -> None:
        """Writes all again: a transaction failed after its keys were removed."""
        self._is_behind = True

    async def run(self) -> None:
        """Fills at start and whenever something is missing; a supervised task."""
        while True:
            try:
                await self.look()
            except UnavailableError:
                logger.debug("suppressions cannot be mirrored now")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Writes all rows if need be. Raises UnavailableError."""
        server = await self._ask(self._redis.info("server"))
        this_run = str(server["run_id"]).encode()
        is_same_run = await self._ask(self._redis.get(MARKER)) == this_run
        if is_same_run and not self._is_behind:
            return
        self._is_behind = False
        try:
            if not is_same_run:
                await self._restarted()
            count = await self._write_all()
            await self._ask(self._redis.set(MARKER, this_run))
        except BaseException:
            self._is_behind = True
            raise
        metrics.record_mirrored(count)
        logger.info("suppressions mirrored", extra={"count": count})

    async def _write_all(self) -> int:
        last: Stored | None = None
        count = 0
        while True:
            async with transaction(self._pool) as connection:
                rows = await suppressions.page_of_all(connection, last, _PAGE)
                for tenant, of_tenant in groupby(rows, lambda row: row.tenant):
                    keys = {
                        key: row.reason
                        for row in of_tenant
                        for key in _keys(
                            tenant, [(row.channel, row.address)], row.emails
                        )
                    }
                    await self._ask(self._redis.mset(keys))
            count += len(rows)
            if len(rows) < _PAGE:
                return count
            last = rows[-1]

    async def _ask(self, command: Any) -> Any:
        with redis_errors():
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await command


def _keys(
    tenant: str, addresses: Iterable[tuple[str, str]], emails: Iterable[str]
) -> list[str]:
    # Channels ask with the address as the person or the caller spelt it.
    spellings: dict[str, set[str]] = {}
    for email in emails:
        spellings.setdefault(normalised(EMAIL, email), set()).add(email)
    keys = set()
    for channel, address in addresses:
        plain = normalised(channel, address)
        also = spellings.get(plain, ()) if channel == EMAIL else ()
        for spelling in (address, plain, *also):
            keys.add(suppressed_key(tenant, channel, spelling))
    return list(keys)
