from __future__ import annotations

import psycopg
import pytest

from clarion.recipients.text_array import text_array


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["user-1", "user-2"],
        [""],
        ["NULL", "null", "{}", ","],
        ['a "quoted" one', "back\\slash", '\\"', "ends in \\"],
        ["line\nbreak", " spaces ", "tab\t", "ümläut", "\U0001f600"],
    ],
)
def test_postgres_reads_what_was_meant(postgres_url: str, values: list[str]) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT %s::text[]", [text_array(values)]).fetchone()

    assert row == (values,)
