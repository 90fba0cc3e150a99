"""The named statements of ``sql/queries.sql``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def named(text: str) -> Mapping[str, bytes]:
    """Name -> statement. ValueError for a name that is given twice."""
    parts = _NAME.split(text)[1:]
    names, statements = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError("two statements have the same name")
    # Bytes, as psycopg takes as statement only what is no assembled text.
    return {
        name: statement.strip().encode()
        for name, statement in zip(names, statements, strict=True)
    }


QUERIES: Mapping[str, bytes] = named(
    (files("clarion.recipients") / "sql" / "queries.sql").read_text(encoding="utf-8")
)
