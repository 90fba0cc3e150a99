"""Mail addresses, as much as sending needs to know of them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parseaddr

_MOST = 254
"""RFC 5321: 256 octets with the angle brackets."""
_LOCAL = r"[^\s<>()\[\]\\,;:\"@\x00-\x1f\x7f]{1,64}"
_DOMAIN = r"[^\s<>()\[\]\\,;:\"@\x00-\x1f\x7f]{1,253}"
_ADDRESS = re.compile(rf"({_LOCAL})@({_DOMAIN})")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A name for people and an address for servers."""

    name: str
    address: str
    """As ``envelope_address`` returns it."""

    @property
    def domain(self) -> str:
        """The part behind the @."""
        return self.address.rpartition("@")[2]

    @classmethod
    def parse(cls, text: str) -> Mailbox:
        """Of ``name <address>`` or an address; raises ValueError with the remedy."""
        name, address = parseaddr(text)
        checked = envelope_address(address)
        if checked is None:
            raise ValueError(
                "is no mail address: give shop@example.com or "
                '"The Shop <shop@example.com>"'
            )
        return cls(name, checked)


def envelope_address(text: str) -> str | None:
    """The address as it goes into SMTP commands; None for what is none.

    Refuses everything that could end a command or a header: spaces, controls, angle
    brackets, quotes. (Quoted local parts are legal, and nobody has one.) A domain
    outside ASCII becomes its IDNA form; a local part outside ASCII stays and needs a
    server with SMTPUTF8.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    local, domain = match.groups()
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if domain.startswith((".", "-")) or ".." in domain:
        return None
    address = f"{local}@{domain}"
    try:
        return address if len(address.encode()) <= _MOST else None
    except UnicodeEncodeError:  # a lone surrogate
        return None
