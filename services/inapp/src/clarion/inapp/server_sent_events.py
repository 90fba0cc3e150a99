"""Server-sent events (WHATWG HTML, section 9.2) of an inbox. Pure."""

from __future__ import annotations

import json

from google.protobuf.json_format import MessageToDict

from clarion.api.inapp.v1.inbox_service_pb2 import WatchInboxResponse
from clarion.runtime.struct_values import python_values

CONTENT_TYPE = "text/event-stream"
OPENING = b"retry: 1000\n\n"
HEARTBEAT = b": still here\n\n"
END = b"event: end\ndata: {}\n\n"


def event_of(change: WatchInboxResponse) -> bytes:
    """The event of a change; its id is what Last-Event-ID resumes from."""
    shown = MessageToDict(
        change,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    if change.item.HasField("data"):
        # protobuf writes every number of a Struct as a double: 20 would be 20.0.
        shown["item"]["data"] = python_values(change.item.data, dict, list)
    data = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return f"id: {change.item.version}\nevent: item\ndata: {data}\n\n".encode()


def resume_from(last_event_id: str) -> int | None:
    """The version in a Last-Event-ID header; None when there is none that is ours."""
    return (
        int(last_event_id)
        if last_event_id.isascii() and last_event_id.isdigit()
        else None
    )
