"""What is known of each tenant, from a cache that outlives the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from clarion.runtime.clock import Clock
from clarion.runtime.errors import TransientError
from clarion.templating.metrics import record_stale

V = TypeVar("V")

logger = logging.getLogger(__name__)

_MAX_TENANTS = 10_000
_PATIENCE = timedelta(milliseconds=250).total_seconds()
"""How long rendering waits for the database where it has older knowledge."""
_TRUST = timedelta(minutes=1).total_seconds()
"""For how long it is believed that every change was heard of: a database that was
restored may have lost the last ones."""


@dataclass(slots=True)
class _Known(Generic[V]):
    value: V | None = None
    checked: float = 0.0
    """When the last look began, successful or not."""
    is_seen: bool = False
    """Whether the value is what a look has found, and nothing is known to be newer."""
    look: asyncio.Task[None] | None = None
    error: Exception | None = None
    """Why the last look failed, if it did."""


class TenantCache(Generic[V]):
    """Something about all templates of a tenant, at most ``ttl`` old.

    Who hears of every change can vouch for all that it has not forgotten; otherwise a
    tenant is looked up again. While the database is down what was known last is used.
    """

    def __init__(
        self, ask: Callable[[str], Awaitable[V]], clock: Clock, ttl: timedelta
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._ttl = ttl.total_seconds()
        self._known: dict[str, _Known[V]] = {}
        self._vouched = float("-inf")

    async def of(self, tenant: str) -> V:
        """What is known; UnavailableError where nothing ever was."""
        known = self._known.get(tenant)
        if known is None:
            if len(self._known) >= _MAX_TENANTS:
                self._known.clear()
            known = self._known[tenant] = _Known()
        if known.value is not None and self._is_good(known):
            return known.value
        return await self._looked_up(tenant, known)

    def forget(self, tenant: str) -> None:
        """The tenant's templates have changed: the next use looks them up."""
        known = self._known.get(tenant)
        if known is not None:
            # What is under way may have been read before the change.
            self._known[tenant] = _Known(known.value, float("-inf"))

    def forget_all(self) -> None:
        """Anything may have changed."""
        for tenant in list(self._known):
            self.forget(tenant)

    def vouch(self, instant: float) -> None:
        """What changed before an instant of the monotonic clock was forgotten."""
        self._vouched = instant

    def _is_good(self, known: _Known[V]) -> bool:
        good_until = known.checked + self._ttl
        if known.is_seen:
            vouched = min(self._vouched + self._ttl, known.checked + _TRUST)
            good_until = max(good_until, vouched)
        return self._clock.monotonic() < good_until

    async def _looked_up(self, tenant: str, known: _Known[V]) -> V:
        if known.look is None:
            known.look = asyncio.create_task(self._look(tenant, known))
        look = known.look
        # The look is shared, and goes on when this caller is cancelled.
        patience = None if known.value is None else _PATIENCE
        await asyncio.wait({look}, timeout=patience)
        if not look.done():
            # Nobody waits for this look any more: what is known serves until it ends.
            known.checked = self._clock.monotonic()
            record_stale()
        elif known.error is not None:
            if known.value is None:
                raise known.error
            record_stale()
        if known.value is None:
            raise LookupError("a look that succeeds leaves what it saw")
        return known.value

    async def _look(self, tenant: str, known: _Known[V]) -> None:
        known.checked = self._clock.monotonic()
        try:
            known.value = await self._ask(tenant)
            known.is_seen, known.error = True, None
        except TransientError as error:
            logger.warning("published templates not refreshed")
            known.error = error
        except Exception as error:
            logger.exception("published templates not refreshed")
            known.error = error
        finally:
            known.look = None
