"""InboxService on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import grpc
from google.api.httpbody_pb2 import HttpBody

from clarion.api.inapp.v1 import inbox_service_pb2 as pb
from clarion.api.inapp.v1.inbox_service_pb2_grpc import InboxServiceServicer
from clarion.inapp import server_sent_events as sse
from clarion.inapp.inbox import Inbox, Owner, Position
from clarion.inapp.reading import Marking
from clarion.inapp.watching import Watches
from clarion.runtime import page_token
from clarion.runtime.caller import current_caller

_PAGE_SIZE = 50


class InboxServicer(InboxServiceServicer):
    """Between the contract and the use cases."""

    def __init__(self, inbox: Inbox, marking: Marking, watches: Watches) -> None:
        self._inbox = inbox
        self._marking = marking
        self._watches = watches

    async def ListInbox(
        self,
        request: pb.ListInboxRequest,
        context: grpc.aio.ServicerContext[pb.ListInboxRequest, pb.ListInboxResponse],
    ) -> pb.ListInboxResponse:
        owner = _owner(request.user_id)
        size = request.page_size or _PAGE_SIZE
        items = await self._inbox.list(
            owner, request.filter or "all", size + 1, _position(request.page_token)
        )
        response = pb.ListInboxResponse(
            items=items[:size], counts=await self._inbox.counts(owner)
        )
        if len(items) > size:
            last = items[size - 1]
            time = last.created_time.ToDatetime().isoformat()
            response.next_page_token = page_token.encode(time, last.item_id)
        return response

    async def GetInboxCounts(
        self,
        request: pb.GetInboxCountsRequest,
        context: grpc.aio.ServicerContext[
            pb.GetInboxCountsRequest, pb.GetInboxCountsResponse
        ],
    ) -> pb.GetInboxCountsResponse:
        counts = await self._inbox.counts(_owner(request.user_id))
        return pb.GetInboxCountsResponse(counts=counts)

    async def MarkInboxItems(
        self,
        request: pb.MarkInboxItemsRequest,
        context: grpc.aio.ServicerContext[
            pb.MarkInboxItemsRequest, pb.MarkInboxItemsResponse
        ],
    ) -> pb.MarkInboxItemsResponse:
        marked = await self._marking.mark(
            _owner(request.user_id), request.item_ids, request.mark
        )
        return pb.MarkInboxItemsResponse(changed=marked.changed, counts=marked.counts)

    async def WatchInbox(
        self,
        request: pb.WatchInboxRequest,
        context: grpc.aio.ServicerContext[pb.WatchInboxRequest, pb.WatchInboxResponse],
    ) -> AsyncIterator[pb.WatchInboxResponse]:
        after = request.after_version if request.HasField("after_version") else None
        async for change in self._watches.follow(_owner(request.user_id), after):
            if change is not None:
                yield change

    async def StreamInbox(
        self,
        request: pb.StreamInboxRequest,
        context: grpc.aio.ServicerContext[pb.StreamInboxRequest, HttpBody],
    ) -> AsyncIterator[HttpBody]:
        after = sse.resume_from(_metadata(context, "last-event-id"))
        if after is None and request.HasField("after_version"):
            after = request.after_version
        yield HttpBody(content_type=sse.CONTENT_TYPE, data=sse.OPENING)
        async for change in self._watches.follow(_owner(request.user_id), after):
            data = sse.HEARTBEAT if change is None else sse.event_of(change)
            yield HttpBody(content_type=sse.CONTENT_TYPE, data=data)
        yield HttpBody(content_type=sse.CONTENT_TYPE, data=sse.END)


def _owner(user_id: str) -> Owner:
    return Owner(current_caller().tenant, user_id)


def _position(token: str) -> Position | None:
    parts = page_token.decode(token, 2)
    if parts is None:
        return None
    try:
        return Position(datetime.fromisoformat(parts[0] + "+00:00"), parts[1])
    except ValueError as error:
        raise page_token.invalid() from error


def _metadata(
    context: grpc.aio.ServicerContext[pb.StreamInboxRequest, HttpBody], name: str
) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == name and isinstance(value, str):
            return value
    return ""
