"""The settings of the email channel, besides those every service shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from clarion.email.mailbox import Mailbox
from clarion.email.smtp_url import SmtpUrl


@dataclass(frozen=True, slots=True)
class Settings:
    """Through which server mail leaves, and in whose name."""

    # The URL carries a password, so it is kept out of repr.
    smtp_url: str = field(repr=False)
    """smtp://user:password@host:port, smtps:// for TLS from the start, or
    smtp://...?starttls=true to insist on STARTTLS."""
    email_from: str
    """The sender: shop@example.com or "The Shop <shop@example.com>"."""
    smtp_pool: int = 8
    """Connections kept open to the server."""
    smtp_timeout: timedelta = timedelta(seconds=30)
    """How long each answer of the server may take."""

    def __post_init__(self) -> None:
        _ = self.server, self.sender
        if not 1 <= self.smtp_pool <= 500:
            raise ValueError("CLARION_SMTP_POOL is out of range: give 1 to 500")
        if not self.smtp_timeout:
            raise ValueError("CLARION_SMTP_TIMEOUT_SECONDS is 0: give seconds")

    @property
    def server(self) -> SmtpUrl:
        """The parts of the URL."""
        try:
            return SmtpUrl.parse(self.smtp_url)
        except ValueError as wrong:
            raise ValueError(f"CLARION_SMTP_URL {wrong}") from None

    @property
    def sender(self) -> Mailbox:
        """The sender's name and address."""
        try:
            return Mailbox.parse(self.email_from)
        except ValueError as wrong:
            raise ValueError(f"CLARION_EMAIL_FROM {wrong}") from None
