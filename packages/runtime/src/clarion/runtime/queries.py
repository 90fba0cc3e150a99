"""Named SQL statements out of the files in a service's ``sql/``.

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


def queries_of(package: str, file: str = "queries.sql") -> Mapping[str, bytes]:
    """The statements of a file in ``sql/`` of a package such as ``clarion.inapp``."""
    return named((files(package) / "sql" / file).read_text(encoding="utf-8"))
