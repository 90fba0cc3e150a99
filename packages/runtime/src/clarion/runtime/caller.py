"""Who calls, and for which tenant; carried in context variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from clarion.runtime.errors import UnauthenticatedError

TENANT_METADATA = "x-clarion-tenant"
"""Metadata key by which a service credential says for which tenant it calls."""

INTERNAL_SCOPE = "internal"
PUBLIC_SCOPE = "public"
ANY_SCOPE = "*"

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of the RPC under way."""

    tenant: str
    key_id: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the scope is granted; ``*`` grants all but ``internal``."""
        if scope in self.scopes:
            return True
        return ANY_SCOPE in self.scopes and scope != INTERNAL_SCOPE


_caller: ContextVar[Caller | None] = ContextVar("clarion_caller", default=None)
_tenant: ContextVar[str | None] = ContextVar("clarion_tenant", default=None)


def is_tenant(text: str) -> bool:
    """Whether the text can be a tenant's name."""
    return _TENANT.fullmatch(text) is not None


def current_caller() -> Caller:
    """The caller of the RPC under way.

    Raises UnauthenticatedError outside an RPC and in public RPCs, which have none.
    """
    caller = _caller.get()
    if caller is None:
        raise UnauthenticatedError("no caller: not inside an authenticated RPC")
    return caller


def current_tenant() -> str | None:
    """The tenant that calls to neighbours are made for, if there is one."""
    tenant = _tenant.get()
    if tenant is not None:
        return tenant
    caller = _caller.get()
    return None if caller is None else caller.tenant


@contextmanager
def as_tenant(tenant: str) -> Iterator[None]:
    """Makes calls to neighbours for this tenant; for consumers and public RPCs.

    Raises ValueError for what cannot be a tenant's name.
    """
    if not is_tenant(tenant):
        raise ValueError("not a tenant name: ^[a-z0-9][a-z0-9_-]{0,62}$")
    token = _tenant.set(tenant)
    try:
        yield
    finally:
        _tenant.reset(token)


def enter_call(caller: Caller) -> None:
    """Sets the caller for the rest of this task; only authentication calls it."""
    _caller.set(caller)


@contextmanager
def as_caller(caller: Caller) -> Iterator[None]:
    """Runs as that caller; for tests of use cases without a server."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)
