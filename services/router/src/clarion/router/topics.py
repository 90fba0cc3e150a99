"""Who is subscribed to a topic, page by page."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import grpc

from clarion.api.recipients.v1.topic_service_pb2 import ListSubscribersRequest
from clarion.api.recipients.v1.topic_service_pb2_grpc import TopicServiceStub
from clarion.runtime.caller import as_tenant


@dataclass(frozen=True, slots=True)
class Page:
    """Some subscribers, in the order of their ids."""

    user_ids: Sequence[str]
    next_page_token: str
    """Empty at the end."""


class Topics(Protocol):
    """The topics of the recipients service."""

    async def page(self, tenant: str, topic: str, size: int, page_token: str) -> Page:
        """At most ``size`` subscribers from the token on; "" is the beginning.

        A token names a person's place in the order of ids: whoever comes or goes in
        between moves nobody else past it. Raises TransientError while the service does
        not answer.
        """
        ...


class GrpcTopics:
    """Implements Topics; the channel maps failures to our errors."""

    def __init__(self, recipients: grpc.aio.Channel, deadline: timedelta) -> None:
        self._topics = TopicServiceStub(recipients)
        self._timeout = deadline.total_seconds()

    async def page(self, tenant: str, topic: str, size: int, page_token: str) -> Page:
        request = ListSubscribersRequest(
            topic=topic, page_size=size, page_token=page_token
        )
        with as_tenant(tenant):
            answer = await self._topics.ListSubscribers(request, timeout=self._timeout)
        return Page(answer.user_ids, answer.next_page_token)


class InMemoryTopics:
    """Implements Topics in this process, for tests.

    Put people into ``subscribers`` by topic. ``errors`` are raised once each. ``calls``
    counts.
    """

    def __init__(self) -> None:
        self.subscribers: dict[str, set[str]] = defaultdict(set)
        self.errors: list[Exception] = []
        self.calls = 0

    async def page(self, tenant: str, topic: str, size: int, page_token: str) -> Page:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        everybody = sorted(self.subscribers[topic])
        rest = everybody[bisect_right(everybody, page_token) :]
        found = rest[:size]
        return Page(found, found[-1] if len(rest) > size else "")
