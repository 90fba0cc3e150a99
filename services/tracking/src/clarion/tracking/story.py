"""What is known of one notification: a row with its deliveries and attempts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from clarion.tracking import state
from clarion.tracking.event_values import NO_ID
from clarion.tracking.state import Claim, Fact

ACCEPTED = int(Fact.ACCEPTED)

DeliveryKey = tuple[bytes, str]
"""(delivery or NO_ID, channel)"""
AttemptKey = tuple[bytes, int]
"""(delivery, number of the attempt)"""
Attempt = tuple[int, int, str, str, str, str, int | None]
"""(outcome, time, provider, reason, provider's message id and code, latency)"""


@dataclass(slots=True)
class Story:
    """What a batch tells about a notification, or what the database has of it.

    The same events make the same story, however they are shared out and in whatever
    order they are told. Times are in microseconds since 2000.
    """

    tenant_id: str
    user_id: str
    type: str
    accepted_time: int
    """A guess (the earliest event) unless ``facts`` has ACCEPTED."""
    facts: int = 0
    category: str | None = None
    """None until it is decided."""
    priority: str = ""
    due_time: int | None = None
    event_ids: bytes = b""
    """The ids of all its events, one after the other."""
    deliveries: dict[DeliveryKey, Claim] = field(default_factory=dict)
    attempts: dict[AttemptKey, Attempt] = field(default_factory=dict)
    broadcast_id: bytes | None = None
    """The broadcast that it is a part of, as its decision says."""

    def accepted(self, at: int) -> None:
        """Takes over an acceptance time that an event carried."""
        if not self.facts & ACCEPTED or at < self.accepted_time:
            self.accepted_time = at
        self.facts |= ACCEPTED

    def due(self, at: int) -> None:
        """The latest time that it waits for."""
        self.due_time = at if self.due_time is None else max(at, self.due_time)

    def claim(self, key: DeliveryKey, made: Claim) -> None:
        """The greatest claim holds."""
        known = self.deliveries.get(key)
        if known is None or made > known:
            self.deliveries[key] = made

    def attempt(self, key: AttemptKey, made: Attempt) -> None:
        """Of two tellings of an attempt the one with the greater outcome holds."""
        known = self.attempts.get(key)
        if known is None or made[:2] > known[:2]:
            self.attempts[key] = made

    def has(self, event_id: bytes) -> bool:
        """Whether the event is part of it."""
        ids = self.event_ids
        at = ids.find(event_id)
        while at % 16 and at > 0:  # found across two others
            at = ids.find(event_id, at + 1)
        return at >= 0

    def goes_on(self, news: Story) -> None:
        """Takes in what came later; ``news`` has no event that this one has."""
        had, has = self.facts & ACCEPTED, news.facts & ACCEPTED
        if had == has:
            self.accepted_time = min(self.accepted_time, news.accepted_time)
        elif has:
            self.accepted_time = news.accepted_time
        self.facts |= news.facts
        if self.category is None:
            self.category = news.category
            self.priority = news.priority or self.priority
        if news.due_time is not None:
            self.due(news.due_time)
        self.user_id = self.user_id or news.user_id
        self.type = self.type or news.type
        self.broadcast_id = self.broadcast_id or news.broadcast_id
        self.event_ids += news.event_ids
        for delivery, claim in news.deliveries.items():
            self.claim(delivery, claim)
        for number, attempt in news.attempts.items():
            self.attempt(number, attempt)

    def outcomes(self) -> int:
        """How its channels stand, as bits (state.py)."""
        if len(self.deliveries) == 1:
            for (id, _), claim in self.deliveries.items():
                mask = 1 << claim[1]
                return mask if id == NO_ID else mask & ~state.PUT_OFF
        return state.outcomes(
            (channel, id != NO_ID, claim[1])
            for (id, channel), claim in self.deliveries.items()
        )
