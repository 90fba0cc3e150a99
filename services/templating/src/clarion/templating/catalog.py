"""The use case of authors: store, show, publish, try out."""

from __future__ import annotations

from typing import NamedTuple

from clarion.runtime.errors import InvalidArgumentError, NotFoundError
from clarion.templating.compiled import CompiledTemplate, SourceFault, faults_of
from clarion.templating.content import BUILT_IN_PREFIX, DEFAULT_ID, Content, Template
from clarion.templating.default_template import default_template
from clarion.templating.engine import DEFAULT_FUEL
from clarion.templating.errors import source_error
from clarion.templating.layouts import LAYOUTS
from clarion.templating.ports import TemplateStore
from clarion.templating.published import PublishedVersions
from clarion.templating.rendering import Outcome, RenderItem, render_one


class Preview(NamedTuple):
    """A template tried out."""

    outcome: Outcome | None
    faults: list[SourceFault]
    """What keeps it from being stored; then there is no outcome."""


class Catalog:
    """A tenant's templates and the built-in one. Raises UnavailableError."""

    def __init__(
        self,
        store: TemplateStore,
        published: PublishedVersions,
        fuel: int = DEFAULT_FUEL,
    ) -> None:
        self._store = store
        self._published = published
        self._fuel = fuel

    async def put(
        self, tenant: str, template_id: str, content: Content, *, draft: bool
    ) -> Template:
        """Stores a version and publishes it unless it is a draft.

        Raises TemplateInvalidError for sources that cannot be rendered and
        InvalidArgumentError for the id of a built-in template.
        """
        if template_id.startswith(BUILT_IN_PREFIX):
            raise InvalidArgumentError.of(
                "template_id",
                f"begins with {BUILT_IN_PREFIX}, as built-in ones do: choose another",
            )
        faults = _faults(Template(template_id, 0, content))
        if faults:
            raise source_error(faults)
        stored = await self._store.put(tenant, template_id, content, publish=not draft)
        self._published.forget(tenant)
        return stored

    async def get(self, tenant: str, template_id: str, version: int = 0) -> Template:
        """A version, 0 the published one. Raises NotFoundError."""
        found: Template | None
        if template_id.startswith(BUILT_IN_PREFIX):
            found = default_template() if template_id == DEFAULT_ID else None
            if found is not None and version not in (0, found.version):
                found = None
        else:
            found = await self._store.get(tenant, template_id, version)
        if found is None:
            raise NotFoundError.of("template", template_id)
        return found

    async def publish(self, tenant: str, template_id: str, version: int) -> Template:
        """Makes a version the one that is used. Raises NotFoundError."""
        if template_id.startswith(BUILT_IN_PREFIX):
            return await self.get(tenant, template_id, version)
        found = await self._store.publish(tenant, template_id, version)
        if found is None:
            raise NotFoundError.of("template", template_id)
        self._published.forget(tenant)
        return found

    async def list(self, tenant: str, after: str, limit: int) -> list[Template]:
        """Published templates by id, the built-in one among them."""
        found = await self._store.list(tenant, after, limit)
        if after < DEFAULT_ID:
            found = sorted([*found, default_template()], key=lambda t: t.template_id)
        return found[:limit]

    async def preview(
        self, tenant: str, template: str | Template, item: RenderItem
    ) -> Preview:
        """Renders a stored template, by id, or a given one; nothing is stored."""
        if isinstance(template, str):
            template = await self.get(tenant, template or DEFAULT_ID)
        else:
            faults = _faults(template)
            if faults:
                return Preview(None, faults)
        compiled = CompiledTemplate(template, self._fuel)
        return Preview(render_one(compiled, item, item.channels[0]), [])


def _faults(template: Template) -> list[SourceFault]:
    faults = faults_of(template)
    layout = template.content.layout_id
    if layout and layout not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        faults.append(SourceFault("layout_id", f"must be empty or one of {known}"))
    return faults
