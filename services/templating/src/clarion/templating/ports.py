"""What the templates need from storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from clarion.templating.content import Content, Publication, Template


class TemplateStore(Protocol):
    """Templates of tenants. Every method raises UnavailableError."""

    async def put(
        self, tenant: str, template_id: str, content: Content, *, publish: bool
    ) -> Template:
        """Stores a version, unless one of the same content exists, and returns it.

        Publishing makes it the one that is used; without, what is published stays so.
        """
        ...

    async def get(
        self, tenant: str, template_id: str, version: int = 0
    ) -> Template | None:
        """A version, or with 0 the published one; None where there is none."""
        ...

    async def publish(
        self, tenant: str, template_id: str, version: int
    ) -> Template | None:
        """Makes a version the one that is used; None where there is none."""
        ...

    async def list(self, tenant: str, after: str, limit: int) -> list[Template]:
        """Published templates with ids greater than ``after``, ordered by id."""
        ...

    async def published(self, tenant: str) -> Mapping[str, int]:
        """Id -> version of everything published."""
        ...

    async def revision(self) -> int:
        """The highest revision of everything published, of all tenants."""
        ...

    async def changed(self, after: int, limit: int) -> Sequence[tuple[str, int]]:
        """Tenant and revision of what was published later, the lowest first.

        What was published before has a lower revision, always.
        """
        ...

    async def publications(self, tenant: str) -> Mapping[str, Sequence[Publication]]:
        """Id -> what was published of it when, the oldest first."""
        ...
