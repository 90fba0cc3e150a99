"""Named SQL statements out of a service's ``sql/queries.sql``.

A statement begins after a line ``-- name: <name>``.
"""

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


def queries_of(package: str) -> Mapping[str, bytes]:
    """The statements of a package such as ``clarion.inapp``."""
    return named((files(package) / "sql" / "queries.sql").read_text(encoding="utf-8"))
