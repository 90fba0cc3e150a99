"""Exceptions become statuses here and nowhere else."""

from __future__ import annotations

import logging
from typing import Any

import grpc

from clarion.runtime.error_catalog import entry_for
from clarion.runtime.errors import InvalidArgumentError, UnsupportedError
from clarion.runtime.interceptors.rpc import PATH_METADATA, Proceed, Rpc
from clarion.runtime.methods import Method
from clarion.runtime.status import status_of

logger = logging.getLogger(__name__)


class ErrorInterceptor:
    """Answers what was raised by the catalog; anything unknown is INTERNAL, logged.

    Cancellation passes through: then nobody waits for an answer.
    """

    def bind(self, method: Method, proceed: Proceed) -> Proceed:
        async def answering(rpc: Rpc, request: Any) -> Any:
            try:
                return await proceed(rpc, request)
            except (grpc.aio.AbortError, grpc.aio.UsageError, grpc.aio.InternalError):
                raise  # grpc's own, about a call that is over already
            except Exception as error:
                if _is_not_served(error, rpc):
                    error = UnsupportedError()
                if isinstance(error, InvalidArgumentError) and _is_from_rest(rpc):
                    error = error.below(method.rest_body)
                entry = entry_for(error)
                if entry.code is grpc.StatusCode.INTERNAL:
                    logger.exception("rpc failed", extra={"rpc": method.path})
                status = status_of(error)
                await rpc.context.abort(
                    status.code, status.details, status.trailing_metadata
                )

        return answering


def _is_from_rest(rpc: Rpc) -> bool:
    return bool(rpc.text(PATH_METADATA))


def _is_not_served(error: Exception, rpc: Rpc) -> bool:
    # Generated servicers answer so for what a subclass leaves out.
    code: object = rpc.context.code()
    return isinstance(error, NotImplementedError) and (
        code is grpc.StatusCode.UNIMPLEMENTED
    )
