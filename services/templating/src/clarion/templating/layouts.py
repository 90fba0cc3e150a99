"""What wraps the HTML of a mail."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple

DEFAULT_LAYOUT = "default"
NO_LAYOUT = "none"
LAYOUTS = (DEFAULT_LAYOUT, NO_LAYOUT)
"""``none`` is for templates whose HTML is a whole document."""

_MARK = "{{ content }}"


class Wrapped(NamedTuple):
    """A source inside its layout."""

    source: str
    first_line: int
    """The line on which the source that was wrapped begins."""


def wrap(layout_id: str, html: str) -> Wrapped:
    """The HTML in its layout. An empty ``layout_id`` means the default one.

    Joined as sources and not as texts: one rendering makes the whole mail.
    """
    if layout_id == NO_LAYOUT:
        return Wrapped(html, 1)
    before, after = _default_layout()
    return Wrapped(before + html + after, before.count("\n") + 1)


@cache
def _default_layout() -> tuple[str, str]:
    file = resources.files(__package__) / "built_in" / "layout.html"
    before, mark, after = file.read_text(encoding="utf-8").partition(_MARK)
    if not mark:
        raise ValueError("the layout does not say where the content goes")
    return before, after
