"""The double of the neighbours: people, limits and templates in this process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from google.rpc import code_pb2

from clarion.api.event.v1.work_pb2 import Content
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import (
    AcquireItem,
    AcquireResult,
    ChannelRefusal,
)
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.templating.v1.template_service_pb2 import RenderItem, RenderResult
from clarion.runtime.errors import InvalidArgumentError

R = TypeVar("R", AcquireResult, ChannelRefusal)

UNKNOWN = RecipientProfile(found=False)


class InMemoryNeighbours:
    """Implements Neighbours.

    Put people into ``people`` by user id, categories without permits into ``limited``
    (category -> the window that is full), channels without into ``limited_channels``
    in the same way, when there are permits again into ``available``, ``open`` or
    ``closed`` into ``uncounted`` while nothing can be counted, and templates that fail
    into ``broken`` (template id -> google.rpc code). Every call about one of
    ``refused`` (user ids) is refused as a whole. ``errors`` makes calls fail: by the
    call's name what to raise, once each. ``calls`` counts, ``permits`` is what was
    taken.
    """

    def __init__(self) -> None:
        self.people: dict[str, RecipientProfile] = {}
        self.limited: dict[str, str] = {}
        self.limited_channels: dict[str, str] = {}
        self.available: datetime | None = None
        self.uncounted = ""
        self.broken: dict[str, code_pb2.Code] = {}
        self.refused: set[str] = set()
        self.errors: dict[str, list[Exception]] = defaultdict(list)
        self.calls: dict[str, int] = defaultdict(int)
        self.permits: dict[str, AcquireItem] = {}

    async def recipients(
        self, tenant: str, user_ids: Sequence[str]
    ) -> Sequence[RecipientProfile]:
        self._called("recipients")
        if not self.refused.isdisjoint(user_ids):
            raise InvalidArgumentError("not a person's id")
        return [self.people.get(user_id, UNKNOWN) for user_id in user_ids]

    async def acquire(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[AcquireResult]:
        self._called("acquire")
        return [self._permit(item) for item in map(AcquireItem.FromString, items)]

    async def peek(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[AcquireResult]:
        self._called("peek")
        return [self._verdict(item) for item in map(AcquireItem.FromString, items)]

    async def release(self, tenant: str, items: Sequence[AcquireItem]) -> None:
        self._called("release")
        for item in items:
            if not item.channels:
                self.permits.pop(item.request_id, None)
            elif item.request_id in self.permits:
                left = self.permits[item.request_id].channels
                left[:] = [channel for channel in left if channel not in item.channels]

    async def render(
        self, tenant: str, items: Sequence[bytes]
    ) -> Sequence[RenderResult]:
        self._called("render")
        return [
            self._rendered(item, channel)
            for item in map(RenderItem.FromString, items)
            for channel in item.channels
        ]

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.errors[name]:
            raise self.errors[name].pop(0)

    def _permit(self, item: AcquireItem) -> AcquireResult:
        verdict = self._verdict(item)
        if verdict.allowed:
            self.permits[item.request_id] = item
        return verdict

    def _verdict(self, item: AcquireItem) -> AcquireResult:
        if self.uncounted:
            return AcquireResult(allowed=self.uncounted == "open", unchecked=True)
        window = self.limited.get(item.category)
        if window is not None:
            return self._refused(AcquireResult(exceeded=window))
        verdict = AcquireResult()
        for channel in item.channels:
            window = self.limited_channels.get(channel)
            if window is not None:
                refusal = verdict.channels.add(channel=channel, exceeded=window)
                self._refused(refusal)
        verdict.allowed = not 0 < len(item.channels) <= len(verdict.channels)
        if not verdict.allowed:
            self._refused(verdict).exceeded = verdict.channels[0].exceeded
        return verdict

    def _refused(self, verdict: R) -> R:
        if self.available is not None:
            verdict.available_time.FromDatetime(self.available)
        return verdict

    def _rendered(self, item: RenderItem, channel: str) -> RenderResult:
        result = RenderResult(key=item.key, channel=channel)
        template_id = item.template_id or "default"
        if template_id in self.broken:
            result.error.code = self.broken[template_id]
        else:
            content = Content(
                title=item.title,
                body=item.message,
                template_id=template_id,
                template_version=item.template_version or 1,
                locale=item.locale or "en",
            )
            result.content.CopyFrom(content)
        return result
