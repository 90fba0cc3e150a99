"""Every Valkey key that more than one service touches.

The tenant is in braces, so that a cluster keeps one tenant's keys of a pipeline or a
script on one node.
"""

from __future__ import annotations

from hashlib import blake2b


def claim_key(tenant: str, delivery_id: str) -> str:
    """The claim of a delivery: a lease while it is being sent, then its end."""
    return f"claim:{{{tenant}}}:{delivery_id}"


def cancelled_key(tenant: str, notification_id: str) -> str:
    """Set while a cancelled notification may still have deliveries under way."""
    return f"cancelled:{{{tenant}}}:{notification_id}"


def suppressed_key(tenant: str, channel: str, address: str) -> str:
    """The reason why nothing may be sent to an address, which itself is not stored.

    Mail addresses are one in whatever case they are written.
    """
    if channel == "email":
        address = address.lower()
    digest = blake2b(address.encode(), digest_size=16).hexdigest()
    return f"suppressed:{{{tenant}}}:{channel}:{digest}"


def latest_key(tenant: str, user_id: str, collapse_key: str) -> str:
    """The latest notification to a person under a collapse key.

    The value is when it was accepted, in microseconds since 1970, a space, and its id.
    """
    name = f"{user_id}\x1f{collapse_key}".encode()
    return f"latest:{{{tenant}}}:{blake2b(name, digest_size=16).hexdigest()}"


def order_key(tenant: str, user_id: str, type_: str) -> str:
    """The order of a person's notifications of one type."""
    name = f"{user_id}\x1f{type_}".encode()
    return f"order:{{{tenant}}}:{blake2b(name, digest_size=16).hexdigest()}"


def turn_key(tenant: str, notification_id: str) -> str:
    """What is not over yet of an ordered notification."""
    return f"turn:{{{tenant}}}:{notification_id}"


def unsent_key(tenant: str, name: str) -> str:
    """What ended without being sent, of a notification or of one channel of it."""
    return f"never_sent:{{{tenant}}}:{name}"


def idempotency_key(tenant: str, notification_id: str) -> str:
    """The digest of the body that an idempotency key was used with."""
    return f"idempotency:{{{tenant}}}:{notification_id}"


def escalation_key(tenant: str, notification_id: str) -> str:
    """What is known of an escalation under way: its deadlines and what reached."""
    return f"escalation:{{{tenant}}}:{notification_id}"


def chain_key(tenant: str, notification_id: str, release: int) -> str:
    """The deliveries that one decision planned and that ended without being sent."""
    return f"chain:{{{tenant}}}:{notification_id}:{release}"


def fallback_key(tenant: str, delivery_id: str) -> str:
    """What is decided when a delivery that was sent turns out not to have arrived."""
    return f"fallback:{{{tenant}}}:{delivery_id}"
