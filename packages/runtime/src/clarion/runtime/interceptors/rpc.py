"""What an interceptor knows about the RPC under way, and how it wraps it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc

from clarion.runtime.methods import Method

PATH_METADATA = "x-envoy-original-path"
"""Path and query as whoever used REST called them; the edge tells them."""


@dataclass(slots=True)
class Rpc:
    """One RPC under way."""

    method: Method
    context: grpc.aio.ServicerContext[Any, Any]
    metadata: Mapping[str, str | bytes]
    """What the caller sent; the last of repeated keys."""

    def text(self, key: str) -> str:
        """A metadata value as text; empty where it was not sent."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else value.decode("latin-1")


class Undecodable:
    """Stands for a request whose bytes are no message of the RPC's type."""


Proceed: TypeAlias = Callable[[Rpc, Any], Awaitable[Any]]
"""The rest of the way: takes the request; returns the response of a unary RPC, or None
when a streaming one has written all of its responses."""


class Interceptor(Protocol):
    """One concern around every RPC."""

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        """Wraps the rest of the way of one method; called once for each method."""
        ...
