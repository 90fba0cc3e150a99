"""The use case of saying how a type of notification is treated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from clarion.api.router.v1.notification_type_service_pb2 import NotificationType
from clarion.router.notification_types import BUILT_IN
from clarion.router.registry.definitions import built_in, completed, objections
from clarion.router.registry.table import TypeTable
from clarion.runtime.errors import InvalidArgumentError, NotFoundError


class Registry:
    """The types of each tenant: its own and, where it has none, the built-in ones.

    Every method raises UnavailableError while the table does not answer.
    """

    def __init__(
        self,
        table: TypeTable,
        channels: Sequence[str],
        changed: Callable[[str], Awaitable[None]],
    ) -> None:
        self._table = table
        self._channels = channels
        self._changed = changed

    async def put(
        self, tenant: str, type_: str, given: NotificationType
    ) -> NotificationType:
        """Stores it and tells all routers; as stored, with the defaults filled in.

        Raises InvalidArgumentError, and PreconditionError for one type too many.
        """
        wrong = objections(type_, given, self._channels)
        if wrong:
            raise InvalidArgumentError(violations=wrong)
        full = completed(type_, given)
        await self._table.put(tenant, full)
        await self._changed(tenant)
        return full

    async def delete(self, tenant: str, type_: str) -> bool:
        """Forgets it and tells all routers; whether it was registered."""
        deleted = await self._table.delete(tenant, built_in(type_))
        if deleted:
            await self._changed(tenant)
        return deleted

    async def get(self, tenant: str, type_: str) -> NotificationType:
        """One type. Raises NotFoundError."""
        found = (await self._all(tenant)).get(type_)
        if found is None:
            raise NotFoundError.of("notification type", type_)
        return found

    async def page(
        self, tenant: str, after: str, most: int, critical_only: bool = False
    ) -> tuple[Sequence[NotificationType], bool]:
        """By name, from after that one; and whether there are more."""
        found = await self._all(tenant)
        names = sorted(
            name
            for name, one in found.items()
            if name > after and (one.critical or not critical_only)
        )
        return [found[name] for name in names[:most]], len(names) > most

    async def _all(self, tenant: str) -> dict[str, NotificationType]:
        own = await self._table.of_tenant(tenant)
        return {
            **{type_: built_in(type_) for type_ in BUILT_IN},
            **{definition.type: definition for definition in own},
        }
