"""What the contracts say about each RPC, read from the descriptors at start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf import descriptor_pool

from clarion.api.access.v1 import access_pb2
from clarion.runtime.caller import INTERNAL_SCOPE, PUBLIC_SCOPE


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of the contracts."""

    path: str
    """``/clarion.api.router.v1.NotificationService/SendNotification``"""
    service: str
    name: str
    scope: str = INTERNAL_SCOPE
    """What a caller's key must carry; ``internal`` where the contract names none."""
    rest_body: str = ""
    """The field that a REST caller's body is; empty where it is the whole request."""

    @property
    def is_public(self) -> bool:
        """Whether it is answered without a credential."""
        return self.scope == PUBLIC_SCOPE


def methods_of(services: Iterable[str]) -> Mapping[str, Method]:
    """Path -> method of the named services; their modules must be imported."""
    pool = descriptor_pool.Default()
    found: dict[str, Method] = {}
    for service in services:
        for method in pool.FindServiceByName(service).methods:
            options = method.GetOptions()
            scope = options.Extensions[access_pb2.scope] or INTERNAL_SCOPE
            body = options.Extensions[annotations_pb2.http].body.strip("*")
            path = f"/{service}/{method.name}"
            found[path] = Method(path, service, method.name, scope, body)
    return found


def method_at(path: str) -> Method:
    """The method of a path whose contract is not known: internal."""
    service, _, name = path.removeprefix("/").rpartition("/")
    return Method(path, service, name)
