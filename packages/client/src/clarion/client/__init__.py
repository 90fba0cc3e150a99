"""The Python SDK of Clarion and the clarion command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clarion.client.building import notification
    from clarion.client.client import Client
    from clarion.client.errors import ApiError, FieldViolation

__all__ = ["ApiError", "Client", "FieldViolation", "notification"]

_MODULES = {
    "ApiError": "errors",
    "Client": "client",
    "FieldViolation": "errors",
    "notification": "building",
}


def __getattr__(name: str) -> object:
    # On first use: the command line starts without gRPC where it needs none.
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(name)
