"""What a template is: values without behaviour."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

BUILT_IN_PREFIX = "default"
"""Ids that begin with it belong to the service."""
DEFAULT_ID = "default"
"""The template that is used when no other is named or fits."""
DEFAULT_LOCALE = "en"


@dataclass(frozen=True, slots=True)
class Variant:
    """A template's source for one channel in one language."""

    channel: str
    locale: str
    """Empty: the template's default language."""
    title: str = ""
    body: str = ""
    html: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What a version of a template consists of; it never changes."""

    variants: Sequence[Variant]
    data_schema: Mapping[str, Any] | None = None
    """A JSON Schema (draft 2020-12) that the data must satisfy."""
    layout_id: str = ""
    description: str = ""
    default_locale: str = DEFAULT_LOCALE

    def to_json(self) -> str:
        """The canonical text: the same content gives the same text."""
        return json.dumps(
            {
                "variants": [
                    {name: getattr(one, name) for name in _VARIANT_FIELDS}
                    for one in self.variants
                ],
                "data_schema": self.data_schema,
                "layout_id": self.layout_id,
                "description": self.description,
                "default_locale": self.default_locale,
            },
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Content:
        """The inverse of ``to_json``; fields that a later release adds are left out."""
        stored = json.loads(text)
        variants = [
            Variant(**{name: one[name] for name in _VARIANT_FIELDS})
            for one in stored["variants"]
        ]
        return cls(
            tuple(variants),
            stored["data_schema"],
            stored["layout_id"],
            stored["description"],
            stored["default_locale"],
        )

    def digest(self) -> bytes:
        """What tells this content from any other."""
        return blake2b(self.to_json().encode(), digest_size=32).digest()


_VARIANT_FIELDS = ("channel", "locale", "title", "body", "html")


class Publication(NamedTuple):
    """A version became the one that is used."""

    published_time: datetime | None
    """None: before anything that is known."""
    version: int


@dataclass(frozen=True, slots=True)
class Template:
    """One version of a template."""

    template_id: str
    version: int
    content: Content
    published: bool = True
    created_time: datetime | None = field(default=None)
    """None for what is built in."""
