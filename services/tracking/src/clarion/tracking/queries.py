"""The statements of ``sql/queries.sql``."""

from __future__ import annotations

from clarion.runtime.queries import queries_of

QUERIES = queries_of("clarion.tracking")
