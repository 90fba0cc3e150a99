"""What is known about a notification's type before anybody registers it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

DEFAULT_PRIORITY = "medium"
DEFAULT_CHANNELS = ("push", "in_app")

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


@dataclass(frozen=True, slots=True)
class TypePolicy:
    """How notifications of a type are treated where they do not say it themselves."""

    category: str
    channels: tuple[str, ...] = DEFAULT_CHANNELS
    priority: str = DEFAULT_PRIORITY


@lru_cache(maxsize=4096)
def policy_for(type_: str) -> TypePolicy:
    """The policy of a type; a type that is not built in is its own category."""
    return TypePolicy(category=_CATEGORY_OF.get(type_, type_))
