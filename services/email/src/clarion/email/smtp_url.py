"""Where a mail server is, as one URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

_PORTS = {"smtp": 25, "smtps": 465}
_FORM = "give smtp://host:port, smtps://host or smtp://user:password@host:587"


@dataclass(frozen=True, slots=True)
class SmtpUrl:
    """A mail server and how to talk to it."""

    host: str
    port: int
    tls: bool
    """TLS from the first byte."""
    starttls: bool
    """Insist on STARTTLS; without it, it is used where the server offers it and a
    password is to be sent."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> SmtpUrl:
        """Raises ValueError with the remedy; never with the text, which has secrets."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError(f"cannot be read: {_FORM}") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"is not the URL of a mail server: {_FORM}")
        query = parse_qs(parts.query)
        starttls = query.pop("starttls", ["false"])[-1].lower() in ("true", "1")
        if query:
            raise ValueError("has an unknown option: only starttls=true is known")
        tls = parts.scheme == "smtps"
        if tls and starttls:
            raise ValueError("asks for smtps and starttls: use one of them")
        return cls(
            host=parts.hostname,
            port=port or (587 if starttls else _PORTS[parts.scheme]),
            tls=tls,
            starttls=starttls,
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )
