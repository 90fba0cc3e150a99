"""The one grpc.aio interceptor: binds ours around each method, once."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from clarion.runtime.interceptors.rpc import Interceptor, Proceed, Rpc, Undecodable
from clarion.runtime.methods import Method, method_at

# Health and reflection are the library's: no credential, no span, no log line.
INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")

# As text: grpc's classes are generic in the stubs only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Pipeline(grpc.aio.ServerInterceptor):
    """Runs the interceptors, outermost first, around unary and streaming responses.

    A streaming behaviour is driven from inside the chain with ``context.write``, not
    handed to grpc as a generator. So a deadline or an error in the middle of a stream
    passes through the same interceptors as one at its start.
    """

    def __init__(
        self,
        interceptors: Sequence[Interceptor],
        methods: Mapping[str, Method],
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._methods = methods
        self._bound: dict[str, _Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        path = handler_call_details.method
        bound = self._bound.get(path)
        if bound is not None:
            return bound
        handler = await continuation(handler_call_details)
        # A path that nobody serves is not remembered: callers choose those.
        if handler is None or path.startswith(INFRASTRUCTURE):
            return handler
        return self.bind(path, handler)

    def bind(self, path: str, handler: _Handler) -> _Handler:
        """The handler of a method with the interceptors around it, made once."""
        bound = self._bound.get(path)
        if bound is None:
            bound = self._bound[path] = self._bind(path, handler)
        return bound

    def _bind(self, path: str, handler: _Handler) -> _Handler:
        if handler.request_streaming:
            raise NotImplementedError("streams of requests are not part of the mesh")
        method = self._methods.get(path) or method_at(path)
        behaviour: Any = handler.unary_stream or handler.unary_unary
        proceed = _streaming(behaviour) if handler.unary_stream else _unary(behaviour)
        for interceptor in reversed(self._interceptors):
            proceed = interceptor.bind(method, proceed)

        async def handle(request: Any, context: _Context) -> Any:
            metadata = cast(
                "Mapping[str, str | bytes]", dict(context.invocation_metadata() or ())
            )
            return await proceed(Rpc(method, context, metadata), request)

        make: Any = (
            grpc.unary_stream_rpc_method_handler
            if handler.unary_stream
            else grpc.unary_unary_rpc_method_handler
        )
        return cast(
            _Handler,
            make(
                handle,
                request_deserializer=_tolerant(handler.request_deserializer),
                response_serializer=_unless_encoded(handler.response_serializer),
            ),
        )


def _tolerant(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    # grpc.aio answers what a deserializer raises with UNKNOWN and its text.
    def decode_or_say(data: bytes) -> Any:
        try:
            return data if decode is None else decode(data)
        except DecodeError:
            return Undecodable()

    return decode_or_say


def _unless_encoded(encode: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    # A servicer that puts its answer together of encoded pieces answers with bytes:
    # decoding them only to encode them again would be most of what the call costs.
    def encode_message(response: Any) -> bytes:
        if encode is None or isinstance(response, bytes):
            return cast(bytes, response)
        return encode(response)

    return encode_message


def _unary(behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Proceed:
    async def call(rpc: Rpc, request: Any) -> Any:
        return await behaviour(request, rpc.context)

    return call


def _streaming(behaviour: Callable[[Any, Any], Any]) -> Proceed:
    if inspect.iscoroutinefunction(behaviour):
        return _unary(behaviour)  # writes to the context by itself

    async def call(rpc: Rpc, request: Any) -> None:
        responses = behaviour(request, rpc.context)
        try:
            async for response in responses:
                await rpc.context.write(response)
        finally:
            await responses.aclose()

    return call
