"""Taking a cancelled notification out of its digest."""

from __future__ import annotations

from clarion.router.digests.table import DigestTable
from clarion.runtime.breaker import Breaker
from clarion.runtime.errors import UnavailableError


class DigestRemoval:
    """Removes from the table while it answers.

    While it does not, the mark of the cancel stays, which is looked for when the digest
    is sent.
    """

    def __init__(self, table: DigestTable, breaker: Breaker) -> None:
        self._table = table
        self._breaker = breaker

    async def remove(self, tenant: str, notification_id: str) -> int:
        """How many there were, as far as is known."""
        try:
            return await self._breaker.call(
                lambda: self._table.remove(tenant, notification_id)
            )
        except UnavailableError:
            return 0
