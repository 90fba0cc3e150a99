"""The default preferences of all tenants in this process, never older than a second."""

from __future__ import annotations

from datetime import timedelta

from clarion.api.recipients.v1.recipient_pb2 import Preferences
from clarion.recipients.preferences import is_bare
from clarion.recipients.tables import defaults
from clarion.recipients.transactions import Pool, transaction
from clarion.runtime.errors import UnavailableError
from clarion.runtime.following import REFRESH, Follower

_PAGE = 1000


class LiveDefaults:
    """Answers from memory. While Postgres does not answer, what was read last holds."""

    def __init__(self, pool: Pool, refresh: timedelta = REFRESH) -> None:
        self._pool = pool
        self._of: dict[str, Preferences] = {}
        self._seen = 0
        self._is_known = False
        follower = Follower("default preferences", self._take_over, refresh)
        self.hint, self.look, self.run = follower.hint, follower.look, follower.run

    def of(self, tenant: str) -> Preferences | None:
        """A tenant's defaults; None where there is nothing in them.

        Raises UnavailableError before they were read for the first time: without them
        somebody might get what the tenant leaves out by default.
        """
        if not self._is_known:
            raise UnavailableError(
                "the default preferences were not read yet",
                metadata={"dependency": "postgres"},
            )
        return self._of.get(tenant)

    async def _take_over(self) -> None:
        while True:
            async with transaction(self._pool) as connection:
                changes = await defaults.changed(connection, self._seen, _PAGE)
            for tenant, revision, preferences in changes:
                if is_bare(preferences):
                    self._of.pop(tenant, None)
                else:
                    self._of[tenant] = preferences
                self._seen = revision
            if len(changes) < _PAGE:
                self._is_known = True
                return
