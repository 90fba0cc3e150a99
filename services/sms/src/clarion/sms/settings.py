"""The settings of the SMS channel, besides those every service shares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from clarion.runtime.caller import is_tenant
from clarion.runtime.config import Secret

_ACCOUNT = re.compile(r"AC[0-9a-zA-Z]{32}")
# A number, a messaging service, or a name; a short code looks like a name.
_SENDER = re.compile(r"\+[1-9][0-9]{6,14}|MG[0-9a-fA-F]{32}|[A-Za-z0-9 ]{1,11}")


@dataclass(frozen=True, slots=True)
class Settings:
    """By which account texts leave, in whose name, and where receipts come back."""

    twilio_account_sid: str
    """The account: AC and 32 characters."""
    twilio_auth_token: Secret
    """Its auth token: the password of the API, and the key of callbacks."""
    twilio_from: str
    """The sender: an E.164 number, a short code, an alphanumeric sender of up to 11
    characters, or a messaging service (MG...)."""
    public_url: str
    """The base URL of the edge as the provider sees it. Signatures cover it."""
    webhook_listen: str = ""
    """host:port where webhooks come by HTTP/1.1; empty: by gRPC alone."""
    twilio_url: str = "https://api.twilio.com"
    twilio_shared_key: Secret | None = None
    """The key of webhooks that are signed with HMAC-SHA256."""
    twilio_tenants: tuple[str, ...] = ("*=demo",)
    """Whose a text from a person is: the number it was sent to, or the account, or *
    for any other, each with its tenant: +15005550006=shop,*=demo."""
    twilio_connections: int = 32
    """Requests under way at once, each on a connection of its own that is kept open."""
    twilio_connect_timeout: timedelta = timedelta(seconds=5)
    """How long a connection may take; after it the message has never left."""
    twilio_timeout: timedelta = timedelta(seconds=15)
    """How long a request may take; after it nobody knows whether it was taken."""
    sms_max_segments: int = 10
    """A text that would take more is not sent."""

    def __post_init__(self) -> None:
        for name, url in (
            ("CLARION_TWILIO_URL", self.twilio_url),
            ("CLARION_PUBLIC_URL", self.public_url),
        ):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{name} is no URL: give http(s)://host[:port]")
            if parts.query or parts.fragment:
                raise ValueError(f"{name} has a query: give http(s)://host[:port]")
        if not _ACCOUNT.fullmatch(self.twilio_account_sid):
            raise ValueError(
                "CLARION_TWILIO_ACCOUNT_SID is no account: give AC and 32 characters"
            )
        if not _SENDER.fullmatch(self.twilio_from):
            raise ValueError(
                "CLARION_TWILIO_FROM is no sender: give an E.164 number, a short "
                "code, a name of up to 11 letters and digits, or MG..."
            )
        if self.webhook_listen and not self.webhook_listen.rpartition(":")[2].isdigit():
            raise ValueError("CLARION_WEBHOOK_LISTEN has no port: give host:port")
        _ = self.tenants
        if not 1 <= self.twilio_connections <= 1000:
            raise ValueError(
                "CLARION_TWILIO_CONNECTIONS is out of range: give 1 to 1000"
            )
        if not timedelta(0) < self.twilio_connect_timeout < self.twilio_timeout:
            raise ValueError(
                "CLARION_TWILIO_CONNECT_TIMEOUT_SECONDS is out of range: give more "
                "than 0 and less than CLARION_TWILIO_TIMEOUT_SECONDS"
            )
        if self.sms_max_segments < 1:
            raise ValueError("CLARION_SMS_MAX_SEGMENTS is out of range: give 1 or more")

    @property
    def tenants(self) -> Mapping[str, str]:
        """Number, account or * -> tenant."""
        found = {}
        for entry in self.twilio_tenants:
            name, separator, tenant = entry.partition("=")
            if not (name and separator and is_tenant(tenant)):
                raise ValueError(
                    "CLARION_TWILIO_TENANTS has a wrong entry: give number=tenant, "
                    "account=tenant or *=tenant, separated by commas"
                )
            found[name] = tenant
        return found
