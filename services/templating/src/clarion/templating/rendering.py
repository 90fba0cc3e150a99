"""The use case of the hot path: a batch of notifications rendered from the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from clarion.runtime.clock import Clock
from clarion.runtime.errors import ClarionError, NotFoundError
from clarion.templating.compiled import CompiledTemplate, Rendered
from clarion.templating.content import BUILT_IN_PREFIX, DEFAULT_ID, Publication
from clarion.templating.default_template import default_template
from clarion.templating.engine import DEFAULT_FUEL
from clarion.templating.errors import data_error, render_error
from clarion.templating.faults import TemplateFault
from clarion.templating.metrics import record_batch
from clarion.templating.ports import TemplateStore
from clarion.templating.published import PublishedVersions, version_at
from clarion.templating.values import Given, for_schemas

_MAX_COMPILED = 5_000
_BREATH = 100
"""Items after which other calls get a turn: some milliseconds."""

_NOW = Timestamp()
"""Of an item that is rendered with what is published now."""

Pin = tuple[str, int]
"""A template and its version."""


class Item(Protocol):
    """One notification to render: what a RenderItem of the contract has."""

    @property
    def template_id(self) -> str: ...
    @property
    def template_version(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...
    @property
    def locale(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def data(self) -> Struct: ...
    @property
    def recipient(self) -> Struct: ...
    @property
    def published_time(self) -> Timestamp: ...


class RenderItem(NamedTuple):
    """An Item without the contract."""

    template_id: str
    template_version: int
    type: str
    channels: Sequence[str]
    locale: str
    title: str
    message: str
    data: Struct
    recipient: Struct
    published_time: Timestamp = _NOW


class Outcome(NamedTuple):
    """What became of one channel of an item."""

    channel: str
    template_id: str
    version: int
    rendered: Rendered | None
    error: ClarionError | None


class Renderer:
    """Renders batches; compiled versions never change and are kept."""

    def __init__(
        self,
        store: TemplateStore,
        published: PublishedVersions,
        clock: Clock,
        fuel: int = DEFAULT_FUEL,
    ) -> None:
        self._store = store
        self._published = published
        self._clock = clock
        self._fuel = fuel
        self._default = CompiledTemplate(default_template(), fuel)
        self._compiled: dict[tuple[str, Pin], CompiledTemplate] = {}

    async def render(self, tenant: str, items: Sequence[Item]) -> list[list[Outcome]]:
        """For each item one outcome per channel.

        Raises UnavailableError where a template is not in the cache and the database
        does not answer; whatever is wrong with an item is its own outcome.
        """
        began = self._clock.monotonic()
        published = await self._published_of(tenant, items)
        pins = [_pin(item, published) for item in items]
        await self._pin_earlier(tenant, items, pins)
        templates = await self._templates(tenant, set(pins))
        results = []
        for number, (item, pin) in enumerate(zip(items, pins, strict=True), 1):
            results.append(_render(item, pin, templates.get(pin)))
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        took = timedelta(seconds=self._clock.monotonic() - began)
        _record(results, took)
        return results

    async def _published_of(
        self, tenant: str, items: Iterable[Item]
    ) -> Mapping[str, int]:
        # Items that pin a built-in template or a version need no look at all.
        if all(
            item.template_version or _is_built_in(item.template_id) for item in items
        ):
            return {}
        return await self._published.of(tenant)

    async def _pin_earlier(
        self, tenant: str, items: Sequence[Item], pins: list[Pin]
    ) -> None:
        """Items of which an instant is said get the version of then."""
        ever: Mapping[str, Sequence[Publication]] | None = None
        for place, item in enumerate(items):
            at = item.published_time
            if not at.seconds or item.template_version:
                continue
            if ever is None:
                ever = await self._published.ever(tenant)
            then = at.ToDatetime(UTC)
            pins[place] = _pin(item, _Then(ever, then))

    async def _templates(
        self, tenant: str, pins: set[Pin]
    ) -> dict[Pin, CompiledTemplate | ClarionError]:
        templates: dict[Pin, CompiledTemplate | ClarionError] = {}
        for pin in pins:
            if _is_built_in(pin[0]):
                if pin[0] == DEFAULT_ID and pin[1] in (0, self._default.version):
                    templates[pin] = self._default
                continue
            found = self._compiled.get((tenant, pin)) or await self._load(tenant, pin)
            if found is not None:
                templates[pin] = found
        return templates

    async def _load(
        self, tenant: str, pin: Pin
    ) -> CompiledTemplate | ClarionError | None:
        if not pin[1]:
            return None
        template = await self._store.get(tenant, *pin)
        if template is None:
            return None
        try:
            compiled = CompiledTemplate(template, self._fuel)
        except TemplateFault as fault:
            # Stored by a release with another engine: its items fail, others do not.
            return render_error(template.template_id, fault)
        if len(self._compiled) >= _MAX_COMPILED:
            # The oldest goes; it is loaded again if it is still in use.
            del self._compiled[next(iter(self._compiled))]
        self._compiled[tenant, pin] = compiled
        return compiled


def render_one(template: CompiledTemplate, item: RenderItem, channel: str) -> Outcome:
    """One channel of one item with a template at hand."""
    pin = (template.template_id, template.version)
    return _render(item._replace(channels=[channel]), pin, template)[0]


class _Then:
    """What was published at an instant."""

    def __init__(
        self, ever: Mapping[str, Sequence[Publication]], then: datetime
    ) -> None:
        self._ever = ever
        self._then = then

    def get(self, template_id: str, default: int) -> int:
        return version_at(self._ever.get(template_id, ()), self._then) or default


def _pin(item: Item, published: Mapping[str, int] | _Then) -> Pin:
    if item.template_id:
        version = item.template_version or published.get(item.template_id, 0)
        return (item.template_id, version)
    version = published.get(item.type, 0)
    return (item.type, version) if version else (DEFAULT_ID, 0)


def _is_built_in(template_id: str) -> bool:
    return template_id.startswith(BUILT_IN_PREFIX)


def _render(
    item: Item, pin: Pin, template: CompiledTemplate | ClarionError | None
) -> list[Outcome]:
    if template is None:
        return _all_failed(item, pin, NotFoundError.of("template", pin[0]))
    if isinstance(template, ClarionError):
        return _all_failed(item, pin, template)
    name, version = template.template_id, template.version
    if template.schema is not None:
        wrong = template.schema.fault(for_schemas(item.data))
        if wrong is not None:
            return _all_failed(item, (name, version), data_error(name, wrong))
    given = Given(item.title, item.message, item.data, item.recipient)
    outcomes = []
    for channel in item.channels:
        rendered: Rendered | None = None
        failed: ClarionError | None = None
        try:
            rendered = template.render(channel, item.locale, given)
            if rendered is None:
                failed = NotFoundError.of("template variant", f"{name}/{channel}")
        except TemplateFault as fault:
            failed = render_error(name, fault)
        outcomes.append(Outcome(channel, name, version, rendered, failed))
    return outcomes


def _all_failed(item: Item, pin: Pin, error: ClarionError) -> list[Outcome]:
    return [Outcome(channel, *pin, None, error) for channel in item.channels]


def _record(results: Iterable[Iterable[Outcome]], took: timedelta) -> None:
    errors = [outcome.error for outcomes in results for outcome in outcomes]
    ok = errors.count(None)
    not_found = sum(isinstance(error, NotFoundError) for error in errors if error)
    record_batch(ok, not_found, len(errors) - ok - not_found, took)
