from __future__ import annotations

import pytest

from clarion.runtime.errors import InvalidPageTokenError
from clarion.templating.page_token import decode, encode


@pytest.mark.parametrize("last_id", ["a", "order_shipped", "A.b-c"])
def test_a_token_leads_back_to_its_id(last_id):
    assert decode(encode(last_id)) == last_id


def test_no_token_is_the_beginning():
    assert decode("") == ""


@pytest.mark.parametrize("token", ["x", "!!!", "YWJj", "ü", "dDE6AA"])
def test_another_token_is_refused(token):
    with pytest.raises(InvalidPageTokenError):
        decode(token)
