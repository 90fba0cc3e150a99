"""A message as a consumer sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

from clarion.runtime.jetstream.compression import published, published_size

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message of a stream, delivered to a consumer."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    stream: str
    sequence: int
    deliveries: int
    """1 the first time."""
    stored_time: datetime
    """When the stream stored it; the age of the queue is now minus this."""
    received: float = 0.0
    """When it came here, by the loop's clock. A server that was started anew counts its
    deliveries anew."""

    def as_published(self) -> Inbound:
        """Not compressed, as handlers get it. Raises PoisonError (``undecodable``)."""
        data, headers = published(self.data, self.headers)
        if data is self.data:
            return self
        return replace(self, data=data, headers=headers)


class Delivery:
    """An Inbound as it is stored, with what is needed to settle it."""

    __slots__ = ("beaten_at", "inbound", "key", "reply", "size")

    def __init__(self, inbound: Inbound, reply: str, key: tuple[int, int], now: float):
        self.inbound = inbound
        self.reply = reply
        self.key = key
        """Sequence and stored time: a recreated stream starts its sequence again."""
        self.beaten_at = now
        self.size = published_size(inbound.data, inbound.headers)
        """Bytes that its handler gets."""


def parse_delivery(
    subject: str,
    reply: str,
    data: bytes,
    headers: Mapping[str, str] | None,
    now: float,
) -> Delivery | None:
    """The message behind an ack subject; None for anything that has none.

    ``$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>``, or the
    newer form with domain and account after ACK and a random token at the end.
    """
    tokens = reply.split(".")
    if len(tokens) < 9 or tokens[0] != "$JS" or tokens[1] != "ACK":
        return None
    at = 2 if len(tokens) == 9 else 4
    stored_nanos = int(tokens[at + 5])
    sequence = int(tokens[at + 3])
    return Delivery(
        Inbound(
            subject=subject,
            data=data,
            headers=headers or NO_HEADERS,
            stream=tokens[at],
            sequence=sequence,
            deliveries=int(tokens[at + 2]),
            stored_time=datetime.fromtimestamp(stored_nanos / 1e9, UTC),
            received=now,
        ),
        reply,
        (sequence, stored_nanos),
        now,
    )
