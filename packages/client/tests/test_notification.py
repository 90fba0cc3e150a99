"""Building notifications and reading errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from clarion.client import ApiError, notification


def test_plain_values_become_a_notification():
    built = notification(
        "ada",
        "invoice",
        title="Due",
        channels=["email"],
        data={"amount": 99.99, "items": [1, {"sku": "x"}]},
        scheduled_at=datetime(2030, 1, 31, 10, 30, tzinfo=UTC),
        template_id="invoice",
    )

    assert built.data["items"][1]["sku"] == "x"
    assert built.scheduled_at.ToJsonString() == "2030-01-31T10:30:00Z"
    assert built.template_id == "invoice"


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="scheduled_at needs a time zone"):
        notification("ada", "x", scheduled_at=datetime(2030, 1, 31))


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="titel"):
        notification("ada", "x", titel="Hello")


def test_an_error_has_reason_fields_and_wait():
    status = Status(code=8, message="full")
    details = (
        ErrorInfo(reason="OVERLOADED", domain="clarion"),
        BadRequest(
            field_violations=[
                BadRequest.FieldViolation(field="title", description="too long")
            ]
        ),
        RetryInfo(retry_delay=Duration(seconds=2)),
    )
    for detail in details:
        status.details.add().Pack(detail)

    error = ApiError.of_status(status)

    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.reason == "OVERLOADED"
    assert error.violations[0].field == "title"
    assert error.retry_after == timedelta(seconds=2)


def test_an_error_without_details_is_still_one():
    error = ApiError.of_status(Status(code=14, message="gone"))

    assert (error.code, error.reason, error.retry_after) == (
        grpc.StatusCode.UNAVAILABLE,
        "",
        None,
    )
