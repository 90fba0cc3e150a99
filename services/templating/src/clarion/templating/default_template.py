"""The built-in template: readable files in ``built_in/<locale>/<channel>.<field>``."""

from __future__ import annotations

from functools import cache
from importlib import resources

from clarion.templating.content import DEFAULT_ID, Content, Template, Variant

_LOCALES = ("en", "de")
_CHANNELS = ("push", "email", "sms", "in_app")


@cache
def default_template() -> Template:
    """The template for notifications that name none and whose type has none."""
    return Template(
        DEFAULT_ID,
        1,
        Content(
            tuple(
                _variant(channel, locale)
                for locale in _LOCALES
                for channel in _CHANNELS
            ),
            description="Built in: title and message as they are given.",
        ),
    )


def _variant(channel: str, locale: str) -> Variant:
    folder = resources.files(__package__) / "built_in" / locale

    def read(name: str) -> str:
        file = folder / f"{channel}.{name}"
        # The line end belongs to the file, not to the text.
        return file.read_text(encoding="utf-8").rstrip("\n") if file.is_file() else ""

    return Variant(
        channel,
        locale,
        title=read("title.txt"),
        body=read("body.txt"),
        html=read("body.html"),
    )
