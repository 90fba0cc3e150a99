"""Named SQL statements."""

from __future__ import annotations

import pytest

from clarion.runtime.queries import named


def test_statements_are_found_by_name():
    text = "-- all\n-- name: a\n-- why\nA\n-- name: b\nB\n"

    assert named(text) == {"a": b"-- why\nA", "b": b"B"}


def test_a_name_given_twice_is_refused():
    with pytest.raises(ValueError, match="same name"):
        named("-- name: a\nSELECT 1\n-- name: a\nSELECT 2")
