"""Which versions are published, and which were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from clarion.runtime.clock import Clock
from clarion.runtime.following import Follower
from clarion.templating.content import Publication
from clarion.templating.ports import TemplateStore
from clarion.templating.tenant_cache import TenantCache

_PAGE = 1000
_LEAST_REFRESH = timedelta(milliseconds=50)


class PublishedVersions:
    """The published templates of tenants, at most ``ttl`` old.

    One query brings all of a tenant's, so that a type without a template costs none.
    What was published before is only asked for by those who need it. While ``run``
    follows what is published, by one query for all tenants, nothing is asked again that
    has not changed.
    """

    def __init__(
        self,
        store: TemplateStore,
        clock: Clock,
        ttl: timedelta = timedelta(seconds=1),
    ) -> None:
        self._store = store
        self._clock = clock
        self._now = TenantCache(lambda tenant: store.published(tenant), clock, ttl)
        self._ever = TenantCache(lambda tenant: store.publications(tenant), clock, ttl)
        self._seen: int | None = None
        refresh = max(ttl / 2, _LEAST_REFRESH)
        follower = Follower("published templates", self._take_over, refresh)
        self.look, self.run = follower.look, follower.run

    async def of(self, tenant: str) -> Mapping[str, int]:
        """Id -> version; UnavailableError where nothing was ever known."""
        return await self._now.of(tenant)

    async def ever(self, tenant: str) -> Mapping[str, Sequence[Publication]]:
        """Id -> all publications, the oldest first. Raises as ``of``."""
        return await self._ever.of(tenant)

    def forget(self, tenant: str) -> None:
        """The tenant's templates have changed: the next use looks them up."""
        self._now.forget(tenant)
        self._ever.forget(tenant)

    async def _take_over(self) -> None:
        began = self._clock.monotonic()
        if self._seen is None:
            self._seen = await self._store.revision()
            self._now.forget_all()
            self._ever.forget_all()
        while True:
            changes = await self._store.changed(self._seen, _PAGE)
            for tenant, revision in changes:
                self.forget(tenant)
                self._seen = revision
            if len(changes) < _PAGE:
                break
        self._now.vouch(began)
        self._ever.vouch(began)


def version_at(publications: Sequence[Publication], instant: datetime) -> int:
    """The version that was used then; before there was one, the first; 0: none."""
    version = 0
    for at, published in publications:
        if version and at is not None and at > instant:
            break
        version = published
    return version
