"""Tells who has changed, on core NATS; a courtesy that may be missed.

``recipients.changed.<tenant>``: people changed; the payload is user ids, one a line (an
id has no white space). ``preferences.changed.<tenant>``: the tenant's defaults changed;
the replicas of this service listen to it and look for changes by themselves as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

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


def defaults_subject(tenant: str) -> str:
    """Where it is announced that a tenant's default preferences changed."""
    return f"preferences.changed.{tenant}"


class Announcer(Protocol):
    """Told who has changed; never raises."""

    async def changed(self, tenant: str, user_ids: Collection[str]) -> None:
        """These people are not what they were."""
        ...

    async def defaults_changed(self, tenant: str) -> None:
        """The tenant's default preferences are not what they were."""
        ...


class Silence:
    """The announcer of a mesh without NATS."""

    async def changed(self, tenant: str, user_ids: Collection[str]) -> None:
        pass

    async def defaults_changed(self, tenant: str) -> None:
        pass


class NatsAnnouncer:
    """Publishes on a connection of its own, which nothing else waits for: people can be
    read and written while NATS is down."""

    def __init__(self, url: str, heard: Callable[[], None] = lambda: None) -> None:
        """``heard`` is called when somebody announces that defaults changed."""
        self._url = url
        self._heard = heard
        self._streams: Streams | None = None

    @property
    def is_connected(self) -> bool:
        """Whether an announcement would be published now."""
        return self._streams is not None and self._streams.is_connected

    async def changed(self, tenant: str, user_ids: Collection[str]) -> None:
        ids = list(user_ids)
        bodies = [
            "\n".join(ids[start : start + _AT_ONCE]).encode()
            for start in range(0, len(ids), _AT_ONCE)
        ]
        if not await self._publish(changed_subject(tenant), bodies):
            metrics.record_unannounced(len(ids))

    async def defaults_changed(self, tenant: str) -> None:
        await self._publish(defaults_subject(tenant), [b""])

    async def _publish(self, subject: str, bodies: Collection[bytes]) -> bool:
        streams = self._streams
        if streams is None or not streams.is_connected:
            return False
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS):
                for body in bodies:
                    await streams.nc.publish(subject, body)
        except (TimeoutError, OSError, nats.errors.Error):
            logger.warning("change not announced", extra={"messages": len(bodies)})
            return False
        return True

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
                await streams.nc.subscribe(defaults_subject("*"), cb=self._received)
                await asyncio.shield(streams.lost)
            except nats.errors.Error:
                logger.warning("changes of default preferences are not heard")
            finally:
                self._streams = None
                await streams.close()
            await asyncio.sleep(_REST_SECONDS)

    async def _received(self, message: Any) -> None:
        self._heard()
