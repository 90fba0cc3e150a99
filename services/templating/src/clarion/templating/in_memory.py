"""The store in memory, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

from clarion.templating.content import Content, Publication, Template


@dataclass(slots=True)
class _Stored:
    versions: list[Template] = field(default_factory=list)
    published: int = 0
    revision: int = 0
    publications: list[Publication] = field(default_factory=list)

    def publish(self, version: int, revision: int) -> None:
        if version != self.published:
            self.published = version
            self.revision = revision
            self.publications.append(Publication(datetime.now(UTC), version))


class InMemoryTemplateStore:
    """Implements TemplateStore."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str], _Stored] = {}
        self._revisions = count(1)

    async def put(
        self, tenant: str, template_id: str, content: Content, *, publish: bool
    ) -> Template:
        stored = self._stored.setdefault((tenant, template_id), _Stored())
        digest = content.digest()
        for known in stored.versions:
            if known.content.digest() == digest:
                version = known.version
                break
        else:
            version = len(stored.versions) + 1
            now = datetime.now(UTC)
            stored.versions.append(Template(template_id, version, content, False, now))
        if publish:
            stored.publish(version, next(self._revisions))
        return self._at(stored, version)

    async def get(
        self, tenant: str, template_id: str, version: int = 0
    ) -> Template | None:
        stored = self._stored.get((tenant, template_id), _Stored())
        version = version or stored.published
        if not 1 <= version <= len(stored.versions):
            return None
        return self._at(stored, version)

    def _at(self, stored: _Stored, version: int) -> Template:
        found = stored.versions[version - 1]
        return replace(found, published=version == stored.published)

    async def publish(
        self, tenant: str, template_id: str, version: int
    ) -> Template | None:
        if await self.get(tenant, template_id, version) is None:
            return None
        self._stored[tenant, template_id].publish(version, next(self._revisions))
        return await self.get(tenant, template_id, version)

    async def list(self, tenant: str, after: str, limit: int) -> list[Template]:
        found = [
            self._at(stored, stored.published)
            for (of_tenant, template_id), stored in sorted(self._stored.items())
            if of_tenant == tenant and template_id > after and stored.published
        ]
        return found[:limit]

    async def published(self, tenant: str) -> Mapping[str, int]:
        return {
            template_id: stored.published
            for (of_tenant, template_id), stored in self._stored.items()
            if of_tenant == tenant and stored.published
        }

    async def revision(self) -> int:
        return max((stored.revision for stored in self._stored.values()), default=0)

    async def changed(self, after: int, limit: int) -> Sequence[tuple[str, int]]:
        found = [
            (tenant, stored.revision)
            for (tenant, _), stored in self._stored.items()
            if stored.revision > after
        ]
        return sorted(found, key=lambda row: row[1])[:limit]

    async def publications(self, tenant: str) -> Mapping[str, Sequence[Publication]]:
        return {
            template_id: tuple(stored.publications)
            for (of_tenant, template_id), stored in self._stored.items()
            if of_tenant == tenant and stored.publications
        }
