"""The settings that every service shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from clarion.runtime.config import PREFIX, Secret
from clarion.runtime.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Where a service listens, what it is connected to and how it stops."""

    api_keys_file: Path
    """JSON file of the keys that callers may present (docs/config.md)."""
    listen: str = "127.0.0.1:50051"
    """host:port of the gRPC server; port 0 takes a free one."""
    service_key: Secret | None = None
    """The key that this service presents to its neighbours."""
    # URLs carry passwords, so they are kept out of repr.
    nats_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    postgres_url: str | None = field(default=None, repr=False)
    recipients_target: str | None = None
    ratelimit_target: str | None = None
    templating_target: str | None = None
    router_target: str | None = None
    tracking_target: str | None = None
    push_target: str | None = None
    email_target: str | None = None
    sms_target: str | None = None
    inapp_target: str | None = None
    stream_replicas: int = 1
    stream_compression: bool = True
    """Whether large messages are stored compressed; they are read either way."""
    drain: timedelta = timedelta(seconds=10)
    """How long work under way may take to finish when the service stops."""
    migrate_on_start: bool = False
    """Whether the service's SQL migrations are applied before it is built."""
    dry_run: bool = False
    """Whether channels send nothing: every delivery counts as sent by ``sink``."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def __post_init__(self) -> None:
        if not self.listen.rpartition(":")[2].isdigit():
            raise ValueError(f"{PREFIX}LISTEN has no port: give host:port")

    def target(self, neighbour: str) -> str:
        """host:port of a neighbour; ConfigError names the variable when unset."""
        found = getattr(self, f"{neighbour}_target", None)
        if not isinstance(found, str):
            raise ConfigError(
                f"{PREFIX}{neighbour.upper()}_TARGET is not set: "
                f"give host:port of {neighbour}"
            )
        return found

    def url(self, dependency: Literal["nats", "redis", "postgres"]) -> str:
        """The URL of a dependency; ConfigError names the variable when unset."""
        found: str | None = getattr(self, f"{dependency}_url")
        if not found:
            raise ConfigError(
                f"{PREFIX}{dependency.upper()}_URL is not set: "
                f"give the URL of {dependency}"
            )
        return found
