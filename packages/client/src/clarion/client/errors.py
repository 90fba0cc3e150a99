"""What the mesh answers when it refuses a call, as one exception."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field."""

    field: str
    """Where it stands, for example ``notification.channels[0]``."""
    description: str


class ApiError(Exception):
    """A call was refused.

    ``reason`` is a name of clarion.api.common.v1.ErrorReason without its prefix;
    ``retry_after`` says how long to wait, where that is known.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        violations: Iterable[FieldViolation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.violations = tuple(violations)
        self.retry_after = retry_after

    @classmethod
    def of_status(cls, status: Status) -> ApiError:
        """The error that a google.rpc.Status stands for."""
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        parts: tuple[Message, ...] = (info, bad, retry)
        for detail in status.details:
            for part in parts:
                if detail.Is(part.DESCRIPTOR):
                    detail.Unpack(part)
        return cls(
            _CODES.get(status.code, grpc.StatusCode.UNKNOWN),
            status.message,
            info.reason,
            [FieldViolation(v.field, v.description) for v in bad.field_violations],
            retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
        )

    @classmethod
    def of_call(cls, error: grpc.aio.AioRpcError) -> ApiError:
        """The error that a failed call stands for."""
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS and isinstance(value, bytes):
                return cls.of_status(Status.FromString(value))
        return cls(error.code(), error.details() or error.code().name)


_CODES = {code.value[0]: code for code in grpc.StatusCode}
