"""The named queries of ``sql/queries.sql``."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def parse(text: str) -> dict[str, bytes]:
    """Name -> query; what stands before the first name is a comment on all."""
    parts = _NAME.split(text)[1:]
    return {
        name: body.strip().encode()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def query(name: str) -> bytes:
    """One query; KeyError for an unknown name."""
    return _queries()[name]


@cache
def _queries() -> dict[str, bytes]:
    folder = files("clarion.tracking") / "sql"
    return parse((folder / "queries.sql").read_text(encoding="utf-8"))
