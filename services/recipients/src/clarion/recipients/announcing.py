"""Tells the routers who has changed: core NATS, ``recipients.changed.<tenant>``.

The payload is user ids, one a line (an id has no white space). It is a courtesy that
lets routers drop what they keep: who misses one sees the change when its copy ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol

import nats.errors

from clarion.recipients import metrics
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import Streams

logger = logging.getLogger(__name__)

_AT_ONCE = 2000
_PUBLISH_SECONDS = 0.5
_REST_SECONDS = 1.0


def changed_subject(tenant: str) -> str:
    """Where a tenant's changes are announced."""
    return f"recipients.changed.{tenant}"


class Announcer(Protocol):
    """Told who has changed; never raises."""

    async def changed(self, tenant: str, user_ids: Collection[str]) -> None:
        """These people are not what they were."""
        ...


class Silence:
    """The announcer of a mesh without NATS."""

    async def changed(self, tenant: str, user_ids: Collection[str]) -> None:
        pass


class NatsAnnouncer:
    """Publishes on a connection of its own, which nothing else waits for: people can be
    read and written while NATS is down."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._streams: Streams | None = None

    @property
    def is_connected(self) -> bool:
        """Whether an announcement would be published now."""
        return self._streams is not None and self._streams.is_connected

    async def changed(self, tenant: str, user_ids: Collection[str]) -> None:
        streams = self._streams
        if streams is None or not streams.is_connected:
            metrics.record_unannounced(len(user_ids))
            return
        ids = list(user_ids)
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS):
                for start in range(0, len(ids), _AT_ONCE):
                    body = "\n".join(ids[start : start + _AT_ONCE]).encode()
                    await streams.nc.publish(changed_subject(tenant), body)
        except (TimeoutError, OSError, nats.errors.Error):
            metrics.record_unannounced(len(ids))
            logger.warning("change not announced", extra={"people": len(ids)})

    async def run(self) -> None:
        """Connects, and again whenever that is over; a supervised task."""
        while True:
            try:
                streams = await Streams.connect(self._url, name="clarion-recipients")
            except UnavailableError:
                logger.warning("changes are not announced: no NATS server answers")
                await asyncio.sleep(_REST_SECONDS)
                continue
            self._streams = streams
            try:
                await asyncio.shield(streams.lost)
            finally:
                self._streams = None
                await streams.close()
            await asyncio.sleep(_REST_SECONDS)
