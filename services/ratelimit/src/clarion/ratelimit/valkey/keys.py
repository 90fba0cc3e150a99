"""The keys of the rate limiter; nobody else reads them.

The tenant is in braces, so that a cluster keeps one tenant's keys of a script on one
node.
"""

from __future__ import annotations


def permits_prefix(tenant: str) -> str:
    """What the keys of a tenant's permits begin with; scope/user_id follows.

    A scope has no slash, so the two cannot be taken for each other.
    """
    return f"permits:{{{tenant}}}:"


def categories_key(tenant: str) -> str:
    """The categories of which permits were taken lately: category -> time."""
    return f"permit-categories:{{{tenant}}}"


def type_windows_key(tenant: str) -> str:
    """The windows of types of which permits were taken: type -> JSON."""
    return f"type-windows:{{{tenant}}}"


def policies_key(tenant: str) -> str:
    """The limits that the tenant has set: category -> daily,weekly."""
    return f"limit-policies:{{{tenant}}}"


def scoped_policies_key(tenant: str) -> str:
    """The tenant's policies by category, type and channel: policy id -> JSON."""
    return f"scoped-limit-policies:{{{tenant}}}"
