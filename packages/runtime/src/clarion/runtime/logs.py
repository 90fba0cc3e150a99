"""Logs: one JSON object a line on stderr, with the ids that tie lines together."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from clarion.runtime.identity import current_service
from clarion.runtime.tracing import current_ids

_notification_id: ContextVar[str | None] = ContextVar(
    "clarion_notification_id", default=None
)

# What a LogRecord has by itself; everything else came in by `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Libraries that say at INFO what nobody asked for.
_QUIET = ("grpc", "httpx", "httpcore", "hpack", "nats", "psycopg.pool", "asyncio")


@contextmanager
def about_notification(notification_id: str) -> Iterator[None]:
    """Puts the notification's id on every line logged inside."""
    token = _notification_id.set(notification_id)
    try:
        yield
    finally:
        _notification_id.reset(token)


class JsonFormatter(logging.Formatter):
    """time, level, event, service, logger, the ids where known, then the fields.

    The service is the one under way, or else the program's name.
    """

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "service": current_service() or self._program,
            "logger": record.name,
        }
        trace_id, span_id = current_ids()
        if trace_id:
            line["trace_id"], line["span_id"] = trace_id, span_id
        notification_id = _notification_id.get()
        if notification_id is not None:
            line["notification_id"] = notification_id
        for name, value in vars(record).items():
            if name not in _OWN:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def setup(program: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Makes this the only log of the process; called once, by ``run``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(program))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
