"""The named queries of ``sql/queries.sql``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def read_queries() -> Mapping[str, LiteralString]:
    """Name -> SQL."""
    text = (resources.files("clarion.templating") / "sql" / "queries.sql").read_text(
        encoding="utf-8"
    )
    _, *parts = _NAME.split(text)
    # Part of the package, so as literal as text in the code.
    return {
        name: cast(LiteralString, sql.strip())
        for name, sql in zip(parts[::2], parts[1::2], strict=True)
    }


QUERIES = read_queries()
