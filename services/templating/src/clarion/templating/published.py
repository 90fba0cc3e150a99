"""Which versions are published, from a cache that outlives the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from clarion.runtime.clock import Clock
from clarion.runtime.errors import TransientError
from clarion.templating.metrics import record_stale
from clarion.templating.ports import TemplateStore

logger = logging.getLogger(__name__)

_MAX_TENANTS = 10_000
_PATIENCE = timedelta(milliseconds=250).total_seconds()
"""How long rendering waits for the database where it has older knowledge."""


@dataclass(slots=True)
class _Known:
    versions: Mapping[str, int] | None = None
    checked: float = 0.0
    """When the last look began, successful or not."""
    look: asyncio.Task[None] | None = None
    error: Exception | None = None
    """Why the last look failed, if it did."""


class PublishedVersions:
    """Id -> version of a tenant's published templates, at most ``ttl`` old.

    One query brings all of a tenant's, so that a type without a template costs none.
    While the database is down what was known last is used.
    """

    def __init__(
        self,
        store: TemplateStore,
        clock: Clock,
        ttl: timedelta = timedelta(seconds=1),
    ) -> None:
        self._store = store
        self._clock = clock
        self._ttl = ttl.total_seconds()
        self._known: dict[str, _Known] = {}

    async def of(self, tenant: str) -> Mapping[str, int]:
        """What is published; UnavailableError where nothing was ever known."""
        known = self._known.get(tenant)
        if known is None:
            if len(self._known) >= _MAX_TENANTS:
                self._known.clear()
            known = self._known[tenant] = _Known()
        if (
            known.versions is not None
            and self._clock.monotonic() - known.checked < self._ttl
        ):
            return known.versions
        return await self._looked_up(tenant, known)

    def forget(self, tenant: str) -> None:
        """The tenant's templates have changed: the next use looks them up."""
        known = self._known.get(tenant)
        if known is not None:
            # What is under way may have been read before the change.
            self._known[tenant] = _Known(known.versions, float("-inf"))

    async def _looked_up(self, tenant: str, known: _Known) -> Mapping[str, int]:
        if known.look is None:
            known.look = asyncio.create_task(self._look(tenant, known))
        look = known.look
        # The look is shared, and goes on when this caller is cancelled.
        patience = None if known.versions is None else _PATIENCE
        await asyncio.wait({look}, timeout=patience)
        if not look.done():
            # Nobody waits for this look any more: what is known serves until it ends.
            known.checked = self._clock.monotonic()
            record_stale()
        elif known.error is not None:
            if known.versions is None:
                raise known.error
            record_stale()
        if known.versions is None:
            raise LookupError("a look that succeeds leaves what it saw")
        return known.versions

    async def _look(self, tenant: str, known: _Known) -> None:
        known.checked = self._clock.monotonic()
        try:
            known.versions = await self._store.published(tenant)
            known.error = None
        except TransientError as error:
            logger.warning("published templates not refreshed")
            known.error = error
        except Exception as error:
            logger.exception("published templates not refreshed")
            known.error = error
        finally:
            known.look = None
