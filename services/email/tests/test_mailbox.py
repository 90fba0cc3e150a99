from __future__ import annotations

import pytest

from clarion.email.mailbox import Mailbox, envelope_address

GOOD = (
    ("ada@example.com", "ada@example.com"),
    ("ada+tag@example.co.uk", "ada+tag@example.co.uk"),
    ("o'brien@example.com", "o'brien@example.com"),
    ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ("josé@example.com", "josé@example.com"),
    ("a" * 64 + "@example.com", "a" * 64 + "@example.com"),
    ("ada@localhost", "ada@localhost"),
)
BAD = (
    "",
    "ada",
    "@example.com",
    "ada@",
    "ada@@example.com",
    "ada@example.com\r\nRCPT TO:<eve@example.com>",
    "ada@example.com> SIZE=1",
    "<ada@example.com>",
    "ada lovelace@example.com",
    "ada@exa mple.com",
    '"ada"@example.com',
    "ada@example.com\x00",
    "ada@-example.com",
    "ada@example..com",
    "a" * 65 + "@example.com",
    "ada@" + "x" * 260,
    "ada@é..com",
    "\ud800@example.com",
)


@pytest.mark.parametrize(("text", "address"), GOOD)
def test_good_addresses_go_into_the_envelope(text: str, address: str) -> None:
    assert envelope_address(text) == address


@pytest.mark.parametrize("text", BAD, ids=ascii)
def test_bad_addresses_do_not(text: str) -> None:
    assert envelope_address(text) is None


def test_a_sender_has_a_name_or_none() -> None:
    assert Mailbox.parse("The Shop <shop@example.com>") == Mailbox(
        "The Shop", "shop@example.com"
    )
    assert Mailbox.parse("shop@example.com").name == ""
    with pytest.raises(ValueError, match="is no mail address"):
        Mailbox.parse("The Shop")
