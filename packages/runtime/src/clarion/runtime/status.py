"""Errors on the wire: google.rpc.Status out of an exception, and an error out of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from clarion.runtime.error_catalog import DOMAIN, class_for, entry_for
from clarion.runtime.errors import (
    ClarionError,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    OverloadedError,
    RequestTooLargeError,
    TransientError,
)

DETAILS_METADATA = "grpc-status-details-bin"
RETRY_AFTER_METADATA = "retry-after"
"""Whole seconds, rounded up: the edge passes it to REST callers as Retry-After."""

# gRPC drops trailers over 8 KiB and with them the whole error. A batch can break a rule
# in every item, so the details stop well before that.
_MOST_DETAIL_BYTES = 4096
_MOST_TEXT = 500


@dataclass(frozen=True, slots=True)
class WireStatus:
    """What an RPC is aborted with."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def status_of(error: BaseException) -> WireStatus:
    """The status for an error; what is no ClarionError becomes a plain INTERNAL."""
    message = message_of(error)
    metadata: list[tuple[str, str | bytes]] = []
    if isinstance(error, TransientError) and error.retry_after is not None:
        seconds = max(0, math.ceil(error.retry_after.total_seconds()))
        metadata.append((RETRY_AFTER_METADATA, str(seconds)))
    metadata.append((DETAILS_METADATA, message.SerializeToString()))
    return WireStatus(entry_for(error).code, message.message, tuple(metadata))


def message_of(error: BaseException) -> Status:
    """The google.rpc.Status for an error, as it also stands in an item of a batch."""
    entry = entry_for(error)
    known = error if isinstance(error, ClarionError) else InternalError()
    text = (known.message if entry.public is None else entry.public)[:_MOST_TEXT]
    details: list[Message] = [
        ErrorInfo(
            reason=known.reason or entry.reason,
            domain=DOMAIN,
            metadata=dict(known.metadata),
        )
    ]
    if known.violations:
        details.append(_bad_request(known.violations))
    if isinstance(known, TransientError) and known.retry_after is not None:
        details.append(RetryInfo(retry_delay=_duration(known.retry_after)))
    status = Status(code=entry.code.value[0], message=text)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _bad_request(violations: Sequence[FieldViolation]) -> BadRequest:
    bad = BadRequest()
    for shown, violation in enumerate(violations):
        item = BadRequest.FieldViolation(
            field=violation.field[:_MOST_TEXT],
            description=violation.description[:_MOST_TEXT],
            reason=violation.reason,
        )
        if bad.ByteSize() + item.ByteSize() > _MOST_DETAIL_BYTES:
            left = len(violations) - shown
            bad.field_violations[-1].description += f" ({left} more fields are wrong)"
            break
        bad.field_violations.append(item)
    return bad


def error_of(
    code: grpc.StatusCode,
    details: str | None,
    trailing: Sequence[tuple[str, str | bytes]] = (),
) -> ClarionError:
    """The error that a status from a neighbour stands for."""
    info, bad, retry_after = _unpack(trailing)
    reason = info.reason if info is not None and info.domain == DOMAIN else None
    text = details or code.name
    cls = class_for(code, reason)
    if cls is OverloadedError and reason is None and "larger than max" in text:
        cls = RequestTooLargeError  # gRPC's own limit: the same call fails again
    metadata = dict(info.metadata) if info is not None else {}
    if issubclass(cls, InvalidArgumentError):
        return cls(text, violations=bad, reason=reason, metadata=metadata)
    if issubclass(cls, TransientError):
        return cls(f"{code.name}: {text}", retry_after=retry_after, metadata=metadata)
    return cls(text, reason=reason, metadata=metadata)


def _unpack(
    trailing: Sequence[tuple[str, str | bytes]],
) -> tuple[ErrorInfo | None, list[FieldViolation], timedelta | None]:
    info: ErrorInfo | None = None
    violations: list[FieldViolation] = []
    retry_after: timedelta | None = None
    for key, value in trailing:
        if key != DETAILS_METADATA or not isinstance(value, bytes):
            continue
        try:
            status = Status.FromString(value)
            for detail in status.details:
                if detail.Is(ErrorInfo.DESCRIPTOR):
                    info = ErrorInfo()
                    detail.Unpack(info)
                elif detail.Is(RetryInfo.DESCRIPTOR):
                    retry = RetryInfo()
                    detail.Unpack(retry)
                    retry_after = retry.retry_delay.ToTimedelta()
                elif detail.Is(BadRequest.DESCRIPTOR):
                    bad = BadRequest()
                    detail.Unpack(bad)
                    violations += [
                        FieldViolation(v.field, v.description, v.reason)
                        for v in bad.field_violations
                    ]
        except DecodeError:
            continue  # not one of ours
    return info, violations, retry_after


def _duration(wait: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(wait)
    return duration
