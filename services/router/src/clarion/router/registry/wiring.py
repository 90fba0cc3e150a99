"""The registry's parts in the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clarion.api.router.v1.notification_type_service_pb2_grpc import (
    add_NotificationTypeServiceServicer_to_server,
)
from clarion.router.registry.live import LiveTypes, TypeHints
from clarion.router.registry.registering import Registry
from clarion.router.registry.servicer import NotificationTypeServicer
from clarion.router.registry.table import PostgresTypeTable
from clarion.runtime.jetstream import Streams
from clarion.runtime.service import Service

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool


async def add_types(
    service: Service,
    streams: Streams,
    pool: AsyncConnectionPool[Any],
    channels: Sequence[str],
) -> LiveTypes:
    """Serves the registry; the types that all others go by are kept live."""
    table = PostgresTypeTable(pool)
    types = LiveTypes(table)
    # So that nothing is routed by the built-in types without need.
    await types.look()
    service.add_task("types", types.run)
    hints = TypeHints(streams)
    await hints.subscribe(types.hint)

    async def changed(tenant: str) -> None:
        await hints.publish(tenant)
        await types.look()

    service.add_servicer(
        add_NotificationTypeServiceServicer_to_server,
        NotificationTypeServicer(Registry(table, channels, changed)),
    )
    return types
