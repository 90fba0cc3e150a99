"""Server-sent events (WHATWG HTML, section 9.2) of an inbox. Pure."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson

from clarion.api.inapp.v1.inbox_service_pb2 import WatchInboxResponse

CONTENT_TYPE = "text/event-stream"
OPENING = b"retry: 1000\n\n"
HEARTBEAT = b": still here\n\n"
END = b"event: end\ndata: {}\n\n"


def event_of(change: WatchInboxResponse) -> bytes:
    """The event of a change; its id is what Last-Event-ID resumes from."""
    data = MessageToJson(
        change,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
        ensure_ascii=False,
    )
    return f"id: {change.item.version}\nevent: item\ndata: {data}\n\n".encode()


def resume_from(last_event_id: str) -> int | None:
    """The version in a Last-Event-ID header; None when there is none that is ours."""
    return (
        int(last_event_id)
        if last_event_id.isascii() and last_event_id.isdigit()
        else None
    )
