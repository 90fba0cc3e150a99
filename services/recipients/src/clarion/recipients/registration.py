"""Adds RecipientService so that BatchGetRecipients may answer with bytes.

Its answer is put together from serialized profiles; parsing it only to serialize it
again would be most of what the call costs.
"""

from __future__ import annotations

from typing import Any, cast

import grpc

from clarion.api.recipients.v1.recipient_service_pb2 import BatchGetRecipientsResponse
from clarion.api.recipients.v1.recipient_service_pb2_grpc import (
    add_RecipientServiceServicer_to_server,
)


def add_recipient_service(servicer: Any, server: grpc.aio.Server) -> None:
    """In place of ``add_RecipientServiceServicer_to_server``."""
    capture = _Capture()
    add_RecipientServiceServicer_to_server(servicer, cast(grpc.aio.Server, capture))
    for service, handlers in capture.handlers.items():
        plain = handlers["BatchGetRecipients"]
        handlers["BatchGetRecipients"] = grpc.unary_unary_rpc_method_handler(
            plain.unary_unary,
            request_deserializer=plain.request_deserializer,
            response_serializer=_serialize,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, handlers),)
        )
        server.add_registered_method_handlers(service, handlers)


def _serialize(response: BatchGetRecipientsResponse | bytes) -> bytes:
    if isinstance(response, bytes):
        return response
    return response.SerializeToString()


class _Capture:
    """Stands in for the server to get at the handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        pass

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, Any]
    ) -> None:
        self.handlers[service] = dict(handlers)
