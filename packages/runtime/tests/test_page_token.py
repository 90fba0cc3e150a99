"""Page tokens."""

from __future__ import annotations

import pytest

from clarion.runtime.errors import InvalidPageTokenError
from clarion.runtime.page_token import decode, encode


@pytest.mark.parametrize("position", [("a",), ("ä", "b"), ("", "x", "1")])
def test_a_token_leads_back_to_its_position(position):
    assert decode(encode(*position), len(position)) == list(position)


def test_no_token_is_the_beginning():
    assert decode("", 1) is None


@pytest.mark.parametrize(
    "token", ["x", "!!!", "YWJj", "ü", "WzFd", encode("a", "b"), encode("a\0")]
)
def test_another_token_is_refused(token):
    with pytest.raises(InvalidPageTokenError):
        decode(token, 1)
