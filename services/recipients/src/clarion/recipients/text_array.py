"""Many texts as one argument of a statement. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def text_array(values: Iterable[str]) -> str:
    """A Postgres array of texts, to be cast to ``text[]``.

    psycopg makes it one element after the other, at a microsecond each; hundreds of
    user ids as a rule have nothing to escape.
    """
    values = list(values)
    if not values:
        return "{}"
    together = "".join(values)
    if '"' in together or "\\" in together:
        values = [value.replace("\\", r"\\").replace('"', r"\"") for value in values]
    return '{"' + '","'.join(values) + '"}'
