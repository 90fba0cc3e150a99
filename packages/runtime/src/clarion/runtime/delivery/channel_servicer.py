"""ChannelService: what a channel is, how it is, and its dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio

from clarion.api.channel.v1 import channel_service_pb2 as pb
from clarion.api.channel.v1.channel_service_pb2_grpc import ChannelServiceServicer
from clarion.api.event.v1.dead_letter_pb2 import DeadLetter
from clarion.api.event.v1.notification_event_pb2 import (
    EVENT_KIND_REDRIVEN,
    EventChunk,
)
from clarion.api.event.v1.work_pb2 import DeliveryChunk
from clarion.runtime.caller import current_caller
from clarion.runtime.clock import Clock
from clarion.runtime.delivery.events import set_time
from clarion.runtime.delivery.follow_ups import HEADER
from clarion.runtime.delivery.provider_health import ProviderHealth
from clarion.runtime.delivery.recorder import EventSink
from clarion.runtime.errors import (
    InvalidArgumentError,
    InvalidPageTokenError,
    NotFoundError,
)
from clarion.runtime.ids import event_id
from clarion.runtime.jetstream.dead_letters import (
    DeadLetterFilter,
    DeadLetterPage,
    StoredDeadLetter,
)

_DEFAULT_PAGE = 50
_SCAN_PAGE = 200
_MOST_REDRIVEN = 1000
"""In one call, which has a deadline; repeat it until it says 0."""

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class LetterShelf(Protocol):
    """Where dead letters are read: ``Streams.dead_letters``."""

    async def page(
        self,
        which: DeadLetterFilter | None = None,
        *,
        after: int = 0,
        page_size: int = 100,
    ) -> DeadLetterPage:
        """Letters stored after that sequence."""
        ...

    async def redrive(self, stored: StoredDeadLetter) -> None:
        """Puts the message back where it came from and removes the letter."""
        ...


class ChannelServicer(ChannelServiceServicer):
    """The servicer of one channel; a caller sees the dead letters of its tenant."""

    def __init__(
        self,
        channel: str,
        providers: Sequence[tuple[str, ProviderHealth]],
        letters: LetterShelf,
        event_sink: EventSink,
        clock: Clock,
    ) -> None:
        self._channel = channel
        self._providers = providers
        self._letters = letters
        self._events = event_sink
        self._clock = clock

    async def DescribeChannel(
        self, request: pb.DescribeChannelRequest, context: Context
    ) -> pb.DescribeChannelResponse:
        """The providers by what they answered in the last minute, to this process."""
        response = pb.DescribeChannelResponse(channel=self._channel)
        for name, health in self._providers:
            state = health.state()
            status = response.providers.add(
                provider=name, state=state.state, error_rate=state.error_rate
            )
            status.latency.FromTimedelta(state.latency)
        return response

    async def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: Context
    ) -> pb.ListDeadLettersResponse:
        """Oldest first; the token is the place in the stream."""
        self._check_channel(request.channel)
        page = await self._letters.page(
            self._filter(request.reason),
            after=_place(request.page_token),
            page_size=request.page_size or _DEFAULT_PAGE,
        )
        return pb.ListDeadLettersResponse(
            dead_letters=[_summary(stored.letter) for stored in page.letters],
            next_page_token=str(page.next_after) if page.next_after else "",
        )

    async def RedriveDeadLetters(
        self, request: pb.RedriveDeadLettersRequest, context: Context
    ) -> pb.RedriveDeadLettersResponse:
        """At most 1,000 in one call."""
        self._check_channel(request.channel)
        if not request.dead_letter_ids and not request.reason:
            raise InvalidArgumentError.of(
                "dead_letter_ids", "give dead_letter_ids or a reason"
            )
        wanted = set(request.dead_letter_ids)
        redriven = 0
        async for stored in self._matching(request.reason, wanted):
            # The event first: its id folds a repeat, and a letter once gone cannot
            # tell any more that it was sent again.
            await self._tell(stored)
            await self._letters.redrive(stored)
            redriven += 1
            if redriven == (len(wanted) or _MOST_REDRIVEN):
                break
        return pb.RedriveDeadLettersResponse(redriven=redriven)

    async def _matching(
        self, reason: str, wanted: Collection[str]
    ) -> AsyncIterator[StoredDeadLetter]:
        after = 0
        which = self._filter(reason)
        while True:
            page = await self._letters.page(which, after=after, page_size=_SCAN_PAGE)
            for stored in page.letters:
                if not wanted or stored.letter.dead_letter_id in wanted:
                    yield stored
            after = page.next_after
            if not after:
                return

    def _filter(self, reason: str) -> DeadLetterFilter:
        tenant = current_caller().tenant
        return DeadLetterFilter(stage=self._channel, tenant_id=tenant, reason=reason)

    def _check_channel(self, channel: str) -> None:
        if channel != self._channel:
            raise NotFoundError.of("channel", channel)

    async def _tell(self, stored: StoredDeadLetter) -> None:
        letter = stored.letter
        if not letter.delivery_id or HEADER in letter.headers:
            return
        chunk = EventChunk()
        for job in DeliveryChunk.FromString(letter.body).jobs:
            event = chunk.events.add(
                event_id=event_id(job.delivery_id, "redriven", letter.dead_letter_id),
                tenant_id=job.tenant_id,
                notification_id=job.notification_id,
                kind=EVENT_KIND_REDRIVEN,
                user_id=job.user_id,
                type=job.type,
                channel=job.channel,
                delivery_id=job.delivery_id,
                reason=letter.reason,
            )
            set_time(event.occurred_time, self._clock.now())
        body = chunk.SerializeToString()
        await self._events.submit(body, len(body))


def _place(token: str) -> int:
    if not token:
        return 0
    if not token.isascii() or not token.isdigit() or len(token) > 18:
        raise InvalidPageTokenError.of("page_token", "not a token of this list")
    return int(token)


def _summary(letter: DeadLetter) -> pb.DeadLetterSummary:
    return pb.DeadLetterSummary(
        dead_letter_id=letter.dead_letter_id,
        delivery_id=letter.delivery_id,
        notification_id=letter.notification_id,
        reason=letter.reason,
        detail=letter.detail,
        failed_time=letter.failed_time,
        deliveries=letter.deliveries,
    )
