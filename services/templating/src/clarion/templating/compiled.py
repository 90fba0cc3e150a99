"""A version of a template, ready to render."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from clarion.templating.content import Template, Variant
from clarion.templating.data_schema import DataSchema
from clarion.templating.engine import DEFAULT_FUEL, Engine, Render
from clarion.templating.faults import TemplateFault
from clarion.templating.layouts import wrap
from clarion.templating.locales import choose, normal
from clarion.templating.plain_sources import is_plain
from clarion.templating.values import Given

MAX_TITLE = 1_024
MAX_BODY = 65_536
MAX_HTML = 524_288
MAX_SMS = 1_600
"""Ten segments, the most that providers take."""

_MAX_REMEMBERED_LOCALES = 256


class Rendered(NamedTuple):
    """The texts of one message."""

    title: str
    body: str
    html: str
    locale: str
    """The language of the variant that was used."""


class _CompiledVariant(NamedTuple):
    title: Render
    body: Render
    html: Render | None
    locale: str
    max_body: int
    uses: tuple[str, ...]
    """Those of data and recipient that the sources may mention."""
    is_plain: bool
    """Whether plain dicts do for the sources of the whole template."""


class CompiledTemplate:
    """Renders a version for any channel and language it has."""

    def __init__(self, template: Template, fuel: int = DEFAULT_FUEL) -> None:
        """Raises TemplateFault or ValueError for what ``faults_of`` would find."""
        self.template_id = template.template_id
        self.version = template.version
        content = template.content
        self.schema = DataSchema(content.data_schema) if content.data_schema else None
        self._default = content.default_locale
        engine = Engine(fuel)
        sources = [
            source
            for one in content.variants
            for source in (one.title, one.body, one.html)
        ]
        plain = all(map(is_plain, sources))
        self._by_channel: dict[str, dict[str, _CompiledVariant]] = {}
        for number, variant in enumerate(content.variants):
            locale = variant.locale or self._default
            compiled = _compile(
                engine, number, variant, content.layout_id, locale, plain
            )
            self._by_channel.setdefault(variant.channel, {})[locale] = compiled
        self._chosen: dict[tuple[str, str], _CompiledVariant | None] = {}

    def render(self, channel: str, locale: str, given: Given) -> Rendered | None:
        """The texts, or None where the template has nothing for the channel.

        The variable ``locale`` is the one that is rendered. Raises TemplateFault.
        """
        try:
            variant = self._chosen[channel, locale]
        except KeyError:
            variant = self._choose(channel, locale)
        if variant is None:
            return None
        if variant.is_plain:
            try:
                plain = given.plain_variables(variant.locale, variant.uses)
                return _texts(variant, plain)
            except TemplateFault:
                pass  # rendered again with values that know what is missing
        return _texts(variant, given.variables(variant.locale, variant.uses))

    def _choose(self, channel: str, locale: str) -> _CompiledVariant | None:
        variants = self._by_channel.get(channel, {})
        found = choose(locale, self._default, variants)
        chosen = None if found is None else variants[found]
        # Callers name languages freely, so what is remembered has a limit.
        if len(self._chosen) >= _MAX_REMEMBERED_LOCALES:
            self._chosen.clear()
        self._chosen[channel, locale] = chosen
        return chosen


def _texts(variant: _CompiledVariant, variables: Mapping[str, Any]) -> Rendered:
    title, body, html = variant.title(variables), variant.body(variables), ""
    if variant.html is not None:
        html = variant.html(variables)
        if len(html) > MAX_HTML:
            raise _too_long("html", MAX_HTML)
    if len(title) > MAX_TITLE:
        raise _too_long("title", MAX_TITLE)
    if len(body) > variant.max_body:
        raise _too_long("body", variant.max_body)
    return Rendered(title, body, html, variant.locale)


def _compile(
    engine: Engine,
    number: int,
    variant: Variant,
    layout_id: str,
    locale: str,
    plain: bool,
) -> _CompiledVariant:
    html = None
    sources = f"{variant.title} {variant.body} {variant.html}"
    if variant.html:
        source, first_line = wrap(layout_id, variant.html)
        html = engine.compile(f"{number}.html", source, first_line=first_line)
    return _CompiledVariant(
        engine.compile(f"{number}.title", variant.title),
        engine.compile(f"{number}.body", variant.body),
        html,
        locale,
        MAX_SMS if variant.channel == "sms" else MAX_BODY,
        # Converting costs more than rendering, and many templates use neither. A name
        # in a plain text counts as use, which does no harm.
        tuple(name for name in ("data", "recipient") if name in sources),
        plain,
    )


def _too_long(field: str, limit: int) -> TemplateFault:
    return TemplateFault(field, f"the rendered text has more than {limit} characters")


class SourceFault(NamedTuple):
    """What is wrong with a template's source, and where."""

    path: str
    """From the template: ``variants[2].html``."""
    description: str


def faults_of(template: Template) -> list[SourceFault]:
    """Everything wrong with a template that was given to be stored."""
    content = template.content
    faults: list[SourceFault] = []
    engine = Engine()
    taken: set[tuple[str, str]] = set()
    for number, variant in enumerate(content.variants):
        path = f"variants[{number}]"
        for field in ("title", "body", "html"):
            source = getattr(variant, field)
            if "\0" in source:
                faults.append(
                    SourceFault(f"{path}.{field}", "contains a NUL character")
                )
                continue
            try:
                engine.compile(f"{number}.{field}", source)
            except TemplateFault as fault:
                text = f"line {fault.line}: {fault.description}"
                faults.append(SourceFault(f"{path}.{field}", text))
        place = (variant.channel, normal(variant.locale or content.default_locale))
        if place in taken:
            text = "has the channel and language of an earlier variant"
            faults.append(SourceFault(path, text))
        taken.add(place)
    if content.data_schema:
        try:
            DataSchema(content.data_schema)
        except ValueError as wrong:
            faults.append(SourceFault("data_schema", str(wrong)))
    return faults
