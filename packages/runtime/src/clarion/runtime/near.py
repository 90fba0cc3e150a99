"""Calls to a service in the same process: no socket, no HTTP/2, the same answers.

A near call passes through everything that a call from afar does on the server
(tracing, log, errors, deadline, credential, validation), in a task and a context of
its own, with requests and responses copied as bytes: what one service does to a
message the other never sees. Only unary calls are near; streams take the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, NoReturn, Protocol

import grpc

from clarion.runtime.channel import (
    ATTEMPTS,
    DEFAULT_DEADLINE,
    FIRST_BACKOFF,
    MOST_BACKOFF,
    MeshChannel,
    network_channel,
)
from clarion.runtime.config import Secret
from clarion.runtime.errors import UnavailableError
from clarion.runtime.identity import context_of
from clarion.runtime.retry import backoff
from clarion.runtime.status import error_of

Metadata = Sequence[tuple[str, str | bytes]]

_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Neighbour(Protocol):
    """A service in this process."""

    @property
    def name(self) -> str: ...

    @property
    def is_serving(self) -> bool:
        """Whether it takes calls: started, what it needs is there, not stopping."""
        ...

    def handler(self, path: str) -> Any:
        """What serves ``/package.Service/Method``; None where nothing does."""
        ...


class NearChannel(MeshChannel):
    """A channel whose unary calls stay in the process; raises the same errors."""

    def __init__(
        self,
        neighbour: Neighbour,
        target: str,
        key: Secret | None,
        deadline: timedelta = DEFAULT_DEADLINE,
    ) -> None:
        """``target`` is where the neighbour listens, for what takes the network."""
        super().__init__(network_channel(target), key, deadline)
        self._neighbour = neighbour

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        far = super().unary_unary(method, *args, **kwargs)
        encode, decode = _serializers(*args, **kwargs)

        async def call(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Any = None,
            **more: Any,
        ) -> Any:
            handler = self._neighbour.handler(method)
            if handler is None:
                return await far(request, timeout=timeout, metadata=metadata, **more)
            sent = request if encode is None else encode(request)
            answer = await self._answer(
                handler,
                sent,
                self._metadata(metadata),
                self._budget(timeout, self._deadline),
            )
            return answer if decode is None else decode(answer)

        return call

    async def _answer(
        self, handler: Any, sent: bytes, metadata: Metadata, timeout: float | None
    ) -> bytes:
        """Asks again where the neighbour is unavailable for a moment, as channels do by
        the network."""
        deadline = None if timeout is None else monotonic() + timeout
        for attempt in range(1, ATTEMPTS + 1):
            if not self._neighbour.is_serving:
                break
            request = handler.request_deserializer(sent)
            context = NearContext(metadata, deadline)
            # In a task, as the interceptors set what belongs to this call alone.
            answering = asyncio.get_running_loop().create_task(
                handler.unary_unary(request, context),
                context=context_of(self._neighbour.name),
            )
            try:
                encoded: bytes = handler.response_serializer(await answering)
            except grpc.aio.AbortError as aborted:
                if context.code() is not _UNAVAILABLE or attempt == ATTEMPTS:
                    raise error_of(
                        context.code(), context.details(), context.trailing_metadata()
                    ) from aborted
            else:
                return encoded
            wait = backoff(attempt, first=FIRST_BACKOFF, most=MOST_BACKOFF)
            await asyncio.sleep(wait.total_seconds())
        raise UnavailableError(f"{self._neighbour.name} is not ready")


def _serializers(
    request_serializer: Callable[[Any], bytes] | None = None,
    response_deserializer: Callable[[bytes], Any] | None = None,
    **_: Any,
) -> tuple[Callable[[Any], bytes] | None, Callable[[bytes], Any] | None]:
    return request_serializer, response_deserializer


class NearContext:
    """What interceptors and servicers use of ``grpc.aio.ServicerContext``."""

    __slots__ = ("_code", "_deadline", "_details", "_metadata", "_trailing")

    def __init__(self, metadata: Metadata, deadline: float | None) -> None:
        """``deadline`` is on the monotonic clock."""
        self._metadata = metadata
        self._deadline = deadline
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._trailing: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds."""
        return None if self._deadline is None else self._deadline - monotonic()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Metadata:
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """Ends the call with a status; raises AbortError as grpc's does."""
        self._code, self._details = code, details
        self._trailing = trailing_metadata
        raise grpc.aio.AbortError
