"""JSON log lines."""

from __future__ import annotations

import json
import logging

from clarion.runtime import tracing
from clarion.runtime.logs import JsonFormatter, about_notification


def line(record: logging.LogRecord) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(JsonFormatter("sms").format(record))
    return parsed


def record(**fields: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "test", "msg": "sent", "levelname": "INFO", "created": 0, **fields}
    )


def test_a_line_is_event_service_and_fields():
    assert line(record(channel="sms", attempt=2)) == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "info",
        "event": "sent",
        "service": "sms",
        "logger": "test",
        "channel": "sms",
        "attempt": 2,
    }


def test_the_ids_under_way_are_on_the_line():
    token = tracing.attach("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    with about_notification("n1"):
        inside = line(record())
    tracing.detach(token)

    assert inside["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert inside["span_id"] == "00f067aa0ba902b7"
    assert inside["notification_id"] == "n1"
    assert "notification_id" not in line(record())


def test_a_traceback_is_on_the_line():
    error = ValueError("no")

    assert "ValueError: no" in str(line(record(exc_info=(ValueError, error, None))))
