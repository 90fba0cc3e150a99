"""What is known about a notification's type before anybody registers it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Protocol

from clarion.api.ratelimit.v1.rate_limit_service_pb2 import LimitWindow
from clarion.router.digests.windows import DigestPolicy
from clarion.router.send_windows import SendWindow

DEFAULT_PRIORITY = "medium"
DEFAULT_CHANNELS = ("push", "in_app")

DEFER = "defer"
SKIP = "skip"
IGNORE = "ignore"
DROP = "drop"
DIGEST = "digest"

ALL = "all"
FIRST_AVAILABLE = "first_available"
ESCALATE = "escalate"
ESCALATE_AFTER = timedelta(minutes=10)
UNTIL_DELIVERED = "delivered"
UNTIL_READ = "read"

_CATEGORIES = {
    "order_updates": (
        "order_confirmation",
        "order_shipped",
        "order_delivered",
        "order_cancelled",
        "order_update",
    ),
    "security": ("security_alert", "password_reset", "login_alert", "otp"),
    "promotional": ("promotion", "newsletter", "offer"),
}
_CATEGORY_OF = {
    type_: category for category, types in _CATEGORIES.items() for type_ in types
}
BUILT_IN = tuple(sorted(_CATEGORY_OF))
"""The types that every tenant has from the start."""


@dataclass(frozen=True, slots=True)
class TypePolicy:
    """How notifications of a type are treated where they do not say it themselves."""

    category: str
    channels: tuple[str, ...] = DEFAULT_CHANNELS
    priority: str = DEFAULT_PRIORITY
    critical: bool = False
    """Whether a person's switches and quiet hours do not apply."""
    time_to_live: timedelta | None = None
    """How long after it was accepted, or was scheduled for, it is still sent."""
    quiet_hours_policy: str = DEFER
    """defer, skip or ignore."""
    over_limit_policy: str = DROP
    """drop, defer or digest."""
    limits: tuple[LimitWindow, ...] = ()
    """How many of the type one person gets."""
    ordered: bool = False
    """Whether a person gets them one after the other, as they were accepted."""
    send_window: SendWindow | None = None
    """When channels that disturb are used; the notification's own wins."""
    template_id: str = ""
    channel_templates: Mapping[str, str] = field(default_factory=dict)
    """By channel; wins over ``template_id``."""
    digest: DigestPolicy | None = None
    """How they are collected, where they are."""
    strategy: str = ALL
    """all, first_available or escalate."""
    escalate_after: timedelta = ESCALATE_AFTER
    """How long each step of an escalation waits."""
    escalate_until: str = UNTIL_READ
    """What stops an escalation: delivered or read."""

    @property
    def has_template(self) -> bool:
        """Whether a notification of the type needs neither words nor a template."""
        return bool(self.template_id)

    def template_for(self, channel: str) -> str:
        """The template of a channel, where the notification names none."""
        return self.channel_templates.get(channel) or self.template_id


@lru_cache(maxsize=4096)
def policy_for(type_: str) -> TypePolicy:
    """The policy of a type; a type that is not built in is its own category."""
    return TypePolicy(category=_CATEGORY_OF.get(type_, type_))


class Types(Protocol):
    """What is known about the types of all tenants; answers at once."""

    def policy(self, tenant: str, type_: str) -> TypePolicy:
        """The policy of a tenant's type."""
        ...


class BuiltInTypes:
    """Implements Types where nobody registered any."""

    def policy(self, tenant: str, type_: str) -> TypePolicy:
        return policy_for(type_)
