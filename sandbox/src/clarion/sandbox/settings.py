"""Settings of the sandbox: read once from the environment and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LISTENERS = ("fcm", "push_tls", "twilio", "sendgrid", "smtp", "control")


class SettingsError(ValueError):
    """A setting cannot be used; the text names it and says what would do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the sandbox runs. Every field but `data` has a working default."""

    data: Path
    """Folder for keys, certificates and `sandbox.json`; made when missing."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Port per listener; 0 or absent takes a free one."""
    twilio_sid: str = "AC" + "0" * 31 + "1"
    twilio_token: str = field(default="", repr=False)
    """Auth token; empty makes one and keeps it in the data folder."""
    twilio_inbound_url: str = ""
    """Where messages from people (STOP, START, any text) are posted."""
    sendgrid_key: str = field(default="", repr=False)
    """API key to insist on; empty accepts any."""
    sendgrid_events_url: str = ""
    """Where the signed Event Webhook is posted."""
    receipts: bool = True
    """Send the receipts a provider would send when no rule says otherwise."""


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Settings from CLARION_SANDBOX_* variables; raises SettingsError."""

    def read(name: str) -> str | None:
        return environ.get(f"CLARION_SANDBOX_{name}") or None

    data = read("DATA")
    if data is None:
        raise SettingsError("CLARION_SANDBOX_DATA (or --data) must name a folder")
    texts = {
        name.lower(): value
        for name in (
            *("TWILIO_SID", "TWILIO_TOKEN", "TWILIO_INBOUND_URL"),
            *("SENDGRID_KEY", "SENDGRID_EVENTS_URL"),
        )
        if (value := read(name)) is not None
    }
    receipts = read("RECEIPTS") or "on"
    if receipts not in ("on", "off"):
        raise SettingsError("CLARION_SANDBOX_RECEIPTS must be on or off")
    return Settings(
        data=Path(data),
        ports=parse_ports(read("PORTS") or ""),
        receipts=receipts == "on",
        **texts,
    )


def parse_ports(text: str) -> dict[str, int]:
    """Ports from "fcm=0,smtp=2525"; raises SettingsError naming the bad entry."""
    ports: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = entry.partition("=")
        if name not in LISTENERS:
            raise SettingsError(
                f"CLARION_SANDBOX_PORTS: {name!r} is none of {', '.join(LISTENERS)}"
            )
        if not number.isdigit() or int(number) > 65535:
            raise SettingsError(f"CLARION_SANDBOX_PORTS: {entry!r} needs 0 to 65535")
        ports[name] = int(number)
    return ports
