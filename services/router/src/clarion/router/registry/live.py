"""The types of all tenants in this process, never older than a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clarion.router.notification_types import TypePolicy, policy_for
from clarion.router.registry.definitions import policy_of
from clarion.router.registry.table import TypeTable
from clarion.runtime.errors import UnavailableError

if TYPE_CHECKING:
    from clarion.runtime.jetstream import Streams

_log = logging.getLogger(__name__)

REFRESH = timedelta(milliseconds=500)
"""Half of the second in which a change is honoured; hints make it sooner."""
_PAGE = 1000
_HINTS = "types.changed.*"


class LiveTypes:
    """Implements Types: answers from memory and so never waits for the table.

    While the table does not answer, what was read last holds; before it answered for
    the first time, the built-in types.
    """

    def __init__(self, table: TypeTable, refresh: timedelta = REFRESH) -> None:
        self._table = table
        self._refresh = refresh.total_seconds()
        self._policies: dict[tuple[str, str], TypePolicy] = {}
        self._seen = 0
        self._hint = asyncio.Event()
        self._reading = asyncio.Lock()
        self._is_failing = False

    def policy(self, tenant: str, type_: str) -> TypePolicy:
        """The policy of a tenant's type."""
        return self._policies.get((tenant, type_)) or policy_for(type_)

    def hint(self) -> None:
        """Something changed somewhere: it is looked for at once."""
        self._hint.set()

    async def read(self) -> None:
        """Takes over what changed; UnavailableError while the table does not answer."""
        async with self._reading:
            while True:
                changes = await self._table.changed(self._seen, _PAGE)
                for tenant, revision, definition in changes:
                    self._policies[tenant, definition.type] = policy_of(definition)
                    self._seen = revision
                if len(changes) < _PAGE:
                    return

    async def look(self) -> None:
        """Takes over what changed, if the table answers; else that is logged."""
        try:
            await self.read()
        except UnavailableError as error:
            if not self._is_failing:
                _log.warning("types not read", extra={"detail": str(error)})
            self._is_failing = True
        else:
            self._is_failing = False

    async def run(self) -> None:
        """Looks for changes again and again; a supervised task."""
        while True:
            try:
                async with asyncio.timeout(self._refresh):
                    await self._hint.wait()
            except TimeoutError:
                pass
            self._hint.clear()
            await self.look()


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
