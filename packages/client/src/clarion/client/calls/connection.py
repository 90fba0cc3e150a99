"""A connection to a mesh, and how its calls are repeated and its lists read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc

from clarion.client.errors import ApiError

BATCH = 500
"""How many notifications or persons go in one call; the mesh takes 1,000."""
PAGE = 100
"""How many entries of a list are asked for at a time."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds between two attempts."""

T = TypeVar("T")


class PageRequest(Protocol):
    """Asks for a page of a list."""

    page_size: int
    page_token: str


class Page(Protocol):
    """A page of a list."""

    next_page_token: str


P = TypeVar("P", bound=Page)


class Connection:
    """Calls a mesh at ``target`` (host:port of its edge) with an API key.

    Calls are repeated for ``patience`` while the mesh is unavailable or full. They
    raise ApiError.
    """

    def __init__(
        self,
        target: str,
        api_key: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        patience: timedelta = timedelta(seconds=30),
        deadline: timedelta = timedelta(seconds=15),
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", 16 * 1024 * 1024),
            ("grpc.keepalive_time_ms", 60_000),
        ]
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        self._metadata: tuple[tuple[str, str], ...] = (
            ("authorization", f"Bearer {api_key}"),
        )
        self._patience = patience.total_seconds()
        self._deadline = deadline.total_seconds()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def _call(
        self,
        method: Callable[..., Awaitable[T]],
        request: object,
        *metadata: tuple[str, str],
    ) -> T:
        """Makes a call that is safe to repeat while the mesh asks to come back."""
        sent = self._metadata + metadata
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._patience
        wait = FIRST_WAIT
        while True:
            try:
                return await method(request, metadata=sent, timeout=self._deadline)
            except grpc.aio.AioRpcError as error:
                failure = ApiError.of_call(error)
                failure.__cause__ = error
            if not may_pass(failure) or loop.time() + wait > give_up:
                raise failure
            known = failure.retry_after
            await asyncio.sleep(
                known.total_seconds() if known else wait * (0.5 + random.random() / 2)
            )
            wait = min(wait * 2, LONGEST_WAIT)

    async def _pages(
        self, method: Callable[..., Awaitable[P]], request: PageRequest
    ) -> AsyncIterator[P]:
        """Every page of a list, each read when it is taken."""
        request.page_size = PAGE
        while True:
            page = await self._call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def may_pass(failure: ApiError) -> bool:
    """Whether the call may be repeated."""
    # RESOURCE_EXHAUSTED without a reason is gRPC's own: the request is too large.
    return failure.code is grpc.StatusCode.UNAVAILABLE or failure.reason == "OVERLOADED"
