"""What was raised against what the caller sees."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import grpc
import pytest

from clarion.api.common.v1.error_reason_pb2 import ErrorReason
from clarion.api.inapp.v1.inbox_service_pb2 import (
    GetInboxCountsRequest,
    MarkInboxItemsRequest,
    WatchInboxRequest,
)
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceStub
from clarion.runtime import errors
from clarion.runtime.error_catalog import CATALOG, PRODUCED_ELSEWHERE, class_for
from clarion.runtime.errors import FieldViolation
from clarion.runtime.status import error_of, status_of
from clarion.runtime.testing import refused

COUNTS = GetInboxCountsRequest(user_id="u1")
Code = grpc.StatusCode


def test_every_error_reason_is_in_the_catalog_or_produced_elsewhere():
    declared = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118
    produced = {entry.reason for entry in CATALOG.values()}

    assert produced | set(PRODUCED_ELSEWHERE) == declared
    assert not produced & set(PRODUCED_ELSEWHERE)


def test_every_error_class_that_may_cross_a_wire_is_in_the_catalog():
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ClarionError)
    }

    assert classes - set(CATALOG) == {errors.ClarionError, errors.ConfigError}


@pytest.mark.parametrize(
    ("error", "code", "reason", "details"),
    [
        (
            errors.NotFoundError.of("template", "t1"),
            Code.NOT_FOUND,
            "NOT_FOUND",
            "there is no such template",
        ),
        (
            errors.IdempotencyKeyReusedError(),
            Code.ALREADY_EXISTS,
            "IDEMPOTENCY_KEY_REUSED",
            "The idempotency key was used before with another body.",
        ),
        (
            errors.UnavailableError("redis at 10.0.0.1 refused"),
            Code.UNAVAILABLE,
            "DEPENDENCY_UNAVAILABLE",
            "A part of Clarion does not answer at the moment. "
            "Repeating the call is safe.",
        ),
        (
            ZeroDivisionError("secret"),
            Code.INTERNAL,
            "INTERNAL",
            "Clarion failed. The log has the details under the trace id of this call.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_is_answered_by_the_catalog(
    server, behaviour, error, code, reason, details
):
    behaviour.raises(error)

    with refused() as refusal:
        await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS)

    assert (refusal.code, refusal.reason, refusal.details) == (code, reason, details)


async def test_an_unknown_error_is_logged_with_its_traceback(server, behaviour, caplog):
    behaviour.raises(ZeroDivisionError("secret"))

    with caplog.at_level(logging.ERROR), refused():
        await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS)

    record = next(r for r in caplog.records if r.message == "rpc failed")
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


async def test_a_known_wait_is_told_in_whole_seconds_rounded_up(server, behaviour):
    wait = timedelta(seconds=1.2)
    behaviour.raises(errors.OverloadedError("full", retry_after=wait))

    with refused() as refusal:
        await InboxServiceStub(server.channel()).GetInboxCounts(COUNTS)

    assert refusal.code is Code.RESOURCE_EXHAUSTED
    assert (refusal.retry_delay_seconds, refusal.retry_after) == (1.2, "2")


async def test_an_error_in_the_middle_of_a_stream_has_its_status(server, behaviour):
    received = asyncio.Event()

    async def fail_after_both_were_read():
        await received.wait()
        raise errors.PreconditionError("gone", metadata={"state": "closed"})

    behaviour.run = fail_after_both_were_read
    call = InboxServiceStub(server.channel()).WatchInbox(
        WatchInboxRequest(user_id="u1")
    )

    with refused() as refusal:
        await call.read()
        await call.read()
        received.set()
        await call.read()

    assert refusal.reason == "PRECONDITION_FAILED"
    assert refusal.metadata == {"state": "closed"}


async def test_cancelling_reaches_the_work_and_is_no_error(server, behaviour, caplog):
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    behaviour.run = wait
    call = InboxServiceStub(server.channel()).GetInboxCounts(COUNTS)
    waiting = asyncio.ensure_future(call)
    await asyncio.wait_for(started.wait(), 5)
    waiting.cancel()

    await asyncio.wait_for(cancelled.wait(), 5)
    assert "rpc failed" not in caplog.text


async def test_an_rpc_that_is_not_served_is_unimplemented(server):
    with refused() as refusal:
        await InboxServiceStub(server.channel()).MarkInboxItems(
            MarkInboxItemsRequest(user_id="u1", mark="read")
        )

    assert (refusal.code, refusal.reason) == (Code.UNIMPLEMENTED, "NOT_IMPLEMENTED")


async def test_a_request_over_the_limit_is_refused_and_told_the_limit(server):
    with refused() as refusal:
        await InboxServiceStub(server.channel()).GetInboxCounts(
            GetInboxCountsRequest(user_id="u" * (4 * 1024 * 1024))
        )

    assert refusal.code is Code.RESOURCE_EXHAUSTED
    assert "4194304" in refusal.details


@pytest.mark.parametrize(
    ("code", "reason", "cls"),
    [
        (Code.NOT_FOUND, "NOT_FOUND", errors.NotFoundError),
        (
            Code.ALREADY_EXISTS,
            "IDEMPOTENCY_KEY_REUSED",
            errors.IdempotencyKeyReusedError,
        ),
        (Code.UNAVAILABLE, None, errors.UnavailableError),
        (Code.CANCELLED, None, errors.UnavailableError),
        (Code.UNAUTHENTICATED, "INVALID_CREDENTIAL", errors.UnavailableError),
        (Code.RESOURCE_EXHAUSTED, "OVERLOADED", errors.OverloadedError),
        (Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", errors.RequestTooLargeError),
        (Code.DEADLINE_EXCEEDED, None, errors.DeadlineError),
        (Code.INTERNAL, "INTERNAL", errors.InternalError),
        (Code.UNKNOWN, None, errors.InternalError),
    ],
)
def test_a_neighbours_status_stands_for_an_error(code, reason, cls):
    assert class_for(code, reason) is cls


def test_a_message_too_large_for_grpc_is_not_transient():
    text = "SERVER: Received message larger than max (5 vs. 4)"

    error = error_of(Code.RESOURCE_EXHAUSTED, text)

    assert not isinstance(error, errors.TransientError)


def test_an_error_survives_the_wire():
    violations = [FieldViolation("notification.title", "is missing", "required")]
    status = status_of(errors.InvalidArgumentError(violations=violations))

    error = error_of(status.code, status.details, status.trailing_metadata)

    assert isinstance(error, errors.InvalidArgumentError)
    assert error.violations == tuple(violations)


def test_the_details_of_a_thousand_violations_fit_into_a_trailer():
    violations = [
        FieldViolation(f"notifications[{n}].title", "is missing: give a value", "r")
        for n in range(1000)
    ]

    status = status_of(errors.InvalidArgumentError(violations=violations))

    size = sum(len(key) + len(value) for key, value in status.trailing_metadata)
    assert size < 6000
    error = error_of(status.code, status.details, status.trailing_metadata)
    assert isinstance(error, errors.InvalidArgumentError)
    assert "more fields are wrong" in error.violations[-1].description
