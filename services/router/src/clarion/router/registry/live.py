"""The types of all tenants in this process, never older than a second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clarion.router.notification_types import TypePolicy, policy_for
from clarion.router.registry.definitions import policy_of
from clarion.router.registry.table import TypeTable
from clarion.runtime.following import REFRESH, Follower

if TYPE_CHECKING:
    from clarion.runtime.jetstream import Streams

_PAGE = 1000
_HINTS = "types.changed.*"


class LiveTypes:
    """Implements Types: answers from memory and so never waits for the table.

    While the table does not answer, what was read last holds; before it answered for
    the first time, the built-in types.
    """

    def __init__(self, table: TypeTable, refresh: timedelta = REFRESH) -> None:
        self._table = table
        self._policies: dict[tuple[str, str], TypePolicy] = {}
        self._seen = 0
        follower = Follower("types", self._take_over, refresh)
        self.hint, self.read = follower.hint, follower.read
        self.look, self.run = follower.look, follower.run

    def policy(self, tenant: str, type_: str) -> TypePolicy:
        """The policy of a tenant's type."""
        return self._policies.get((tenant, type_)) or policy_for(type_)

    async def _take_over(self) -> None:
        while True:
            changes = await self._table.changed(self._seen, _PAGE)
            for tenant, revision, definition in changes:
                self._policies[tenant, definition.type] = policy_of(definition)
                self._seen = revision
            if len(changes) < _PAGE:
                return


class TypeHints:
    """Tells all routers that a tenant's types changed, on core NATS.

    A courtesy that makes it sooner: who misses one looks by itself.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def subscribe(self, heard: Callable[[], None]) -> None:
        """Calls back with every hint, also those of this process."""

        async def received(message: Any) -> None:
            heard()

        await self._streams.nc.subscribe(_HINTS, cb=received)

    async def publish(self, tenant: str) -> None:
        """Sends a hint if there is a connection now."""
        if self._streams.is_connected:
            await self._streams.nc.publish(_HINTS.replace("*", tenant), b"")
