"""What arrived: exact counters, the newest messages in full, every acceptance in brief.

Memory stays bounded: full records live in a ring limited by number and by bytes, the
brief ones are 41 bytes each up to a limit. Counters never lose anything.
"""

from __future__ import annotations

import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

FULL_RECORDS = 50_000
FULL_BYTES = 128 * 1024 * 1024
BRIEF_RECORDS = 2_000_000

CHANNELS = ("push", "email", "sms")
_BRIEF = struct.Struct("<B16s16sd")
_ODD_IDS = 0x80
"""Flag in the first byte of a brief record: its ids are no UUIDs and kept aside."""


@dataclass(slots=True)
class Arrival:
    """A message as a provider got it. `read` turns the raw body into JSON values."""

    provider: str
    channel: str
    recipient: str
    notification_id: str
    delivery_id: str
    raw: bytes
    read: Callable[[bytes], Any]
    provider_message_id: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    arrived_time: float = field(default_factory=time.time)


@dataclass(slots=True)
class Record:
    """An arrival with its place in the order and the outcome that was answered."""

    sequence: int
    arrival: Arrival
    outcome: str
    accepted: bool

    def as_json(self) -> dict[str, Any]:
        arrival = self.arrival
        return {
            "id": str(self.sequence),
            "provider": arrival.provider,
            "channel": arrival.channel,
            "recipient": arrival.recipient,
            "arrived_time": _iso(arrival.arrived_time),
            "notification_id": arrival.notification_id,
            "delivery_id": arrival.delivery_id,
            "provider_message_id": arrival.provider_message_id,
            "outcome": self.outcome,
            "accepted": self.accepted,
            "details": arrival.details,
            "payload": arrival.read(arrival.raw),
        }


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records a reader asks for; empty means any."""

    provider: str = ""
    channel: str = ""
    recipient: str = ""
    notification_id: str = ""
    after: int | None = None
    """Only records younger than this id, oldest of them first."""

    def fits(self, record: Record) -> bool:
        arrival = record.arrival
        return (
            (not self.provider or arrival.provider == self.provider)
            and (not self.channel or arrival.channel == self.channel)
            and (not self.recipient or arrival.recipient == self.recipient)
            and (
                not self.notification_id
                or arrival.notification_id == self.notification_id
            )
        )


class Store:
    """Everything that arrived since the start or the last reset."""

    def __init__(
        self,
        *,
        full_records: int = FULL_RECORDS,
        full_bytes: int = FULL_BYTES,
        brief_records: int = BRIEF_RECORDS,
    ) -> None:
        self._full_records = full_records
        self._full_bytes = full_bytes
        self._brief_records = brief_records
        self._sequence = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything; ids go on counting, so that cursors stay valid."""
        self._ring: deque[Record] = deque()
        self._ring_bytes = 0
        self._brief = bytearray()
        self._odd: dict[int, tuple[str, str]] = {}
        self._brief_lost = 0
        self.accepted_by_provider: Counter[str] = Counter()
        self.accepted_by_channel: Counter[str] = Counter()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.since = time.time()

    def add(self, arrival: Arrival, outcome: str, *, accepted: bool) -> None:
        self._sequence += 1
        self.outcomes[arrival.provider, outcome] += 1
        if accepted:
            self.accepted_by_provider[arrival.provider] += 1
            self.accepted_by_channel[arrival.channel] += 1
            self._add_brief(arrival)
        self._ring.append(Record(self._sequence, arrival, outcome, accepted))
        self._ring_bytes += len(arrival.raw)
        while len(self._ring) > self._full_records or (
            self._ring_bytes > self._full_bytes and len(self._ring) > 1
        ):
            self._ring_bytes -= len(self._ring.popleft().arrival.raw)

    def refused(self, provider: str, outcome: str) -> None:
        """Count a request refused before anything of its message was read."""
        self.outcomes[provider, outcome] += 1

    @property
    def sequence(self) -> int:
        """The id of the newest record."""
        return self._sequence

    def find(self, wanted: Filter, limit: int) -> list[Record]:
        """Newest first; with a cursor oldest first, so that a reader can follow."""
        if wanted.after is None:
            candidates: Iterator[Record] = reversed(self._ring)
        else:
            first = self._ring[0].sequence if self._ring else 0
            skip = max(0, wanted.after + 1 - first)
            candidates = islice(self._ring, skip, None)
        return list(islice(filter(wanted.fits, candidates), limit))

    def by_message_id(self, provider_message_id: str) -> Record | None:
        """Newest record with the id that its provider answered."""
        return self._newest_with("provider_message_id", provider_message_id)

    def by_delivery_id(self, delivery_id: str) -> Record | None:
        """Newest record of a delivery."""
        return self._newest_with("delivery_id", delivery_id)

    def newest(self, count: int, after: int) -> list[Record]:
        """Up to `count` of the newest records younger than id `after`, newest first."""
        return [r for r in islice(reversed(self._ring), count) if r.sequence > after]

    def summary(self) -> dict[str, Any]:
        outcomes: dict[str, dict[str, int]] = {}
        for (provider, outcome), count in sorted(self.outcomes.items()):
            outcomes.setdefault(provider, {})[outcome] = count
        return {
            "since": _iso(self.since),
            "accepted": {
                "total": self.accepted_by_channel.total(),
                "by_provider": dict(self.accepted_by_provider),
                "by_channel": dict(self.accepted_by_channel),
            },
            "outcomes": outcomes,
            "arrivals": {"kept": self.arrivals_kept, "dropped": self._brief_lost},
            "last_id": str(self._sequence),
        }

    @property
    def arrivals_kept(self) -> int:
        return len(self._brief) // _BRIEF.size

    def arrivals(self, first: int, count: int) -> Iterator[tuple[str, str, str, int]]:
        """(notification_id, delivery_id, channel, arrived in ms) in order of arrival.

        Raises nothing when the store is reset meanwhile: it just ends.
        """
        for index in range(first, min(first + count, self.arrivals_kept)):
            head, notification, delivery, arrived = _BRIEF.unpack_from(
                self._brief, index * _BRIEF.size
            )
            if head & _ODD_IDS:
                ids = self._odd[index]
            else:
                ids = (_uuid_text(notification), _uuid_text(delivery))
            yield *ids, CHANNELS[head & ~_ODD_IDS], round(arrived * 1000)

    def _newest_with(self, name: str, value: str) -> Record | None:
        found = (r for r in reversed(self._ring) if getattr(r.arrival, name) == value)
        return next(found, None)

    def _add_brief(self, arrival: Arrival) -> None:
        index = len(self._brief) // _BRIEF.size
        if index >= self._brief_records:
            self._brief_lost += 1
            return
        head = CHANNELS.index(arrival.channel)
        notification = _uuid_bytes(arrival.notification_id)
        delivery = _uuid_bytes(arrival.delivery_id)
        if notification is None or delivery is None:
            self._odd[index] = (arrival.notification_id, arrival.delivery_id)
            head |= _ODD_IDS
            notification = delivery = b""
        self._brief += _BRIEF.pack(head, notification, delivery, arrival.arrived_time)


def _uuid_bytes(text: str) -> bytes | None:
    """The 16 bytes of a UUID in canonical lower-case text; None for anything else."""
    if len(text) != 36:
        return None
    try:
        value = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return value if len(value) == 16 and _uuid_text(value) == text else None


def _uuid_text(value: bytes) -> str:
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _iso(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
