"""States as a ranked merge: events may come late, twice or in any order. Pure.

A delivery's state is the greatest *claim* that any event made about it. Claims are
totally ordered, so taking the greatest is associative, commutative and idempotent, and
the database does the same with one comparison (``sql/queries.sql``, merge_deliveries).

===========  ==========================================================  ==============
tier         statuses                                                    among them wins
===========  ==========================================================  ==============
put off      deferred, digested, standby                                   the latest
planned      planned                                                     the earliest
trying       retrying < unknown                                          highest attempt
closed       skipped, rate_limited, suppressed, cancelled, superseded,   the latest
             expired, failed, dead_lettered; redriven (= retrying again)
taken        sent < undelivered (= failed) < delivered < opened <        the earliest
             clicked < read
===========  ==========================================================  ==============

The closed tier goes by time because a dead letter can be redriven and fail again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from clarion.api.event.v1 import notification_event_pb2 as event_pb2


class Status(IntEnum):
    """Status of a delivery, or of a channel without one. Stored: never renumber."""

    DEFERRED = 0
    DIGESTED = 1
    PLANNED = 2
    RETRYING = 3
    UNKNOWN = 4
    SKIPPED = 5
    RATE_LIMITED = 6
    SUPPRESSED = 7
    CANCELLED = 8
    SUPERSEDED = 9
    EXPIRED = 10
    FAILED = 11
    DEAD_LETTERED = 12
    SENT = 13
    DELIVERED = 14
    OPENED = 15
    CLICKED = 16
    READ = 17
    STANDBY = 18


class Fact(IntFlag):
    """What is known of the notification itself. Stored beside the outcomes' bits."""

    ACCEPTED = 1 << 20
    """The acceptance time came with an event; before, it is a guess."""
    SCHEDULED = 1 << 21
    DEFERRED = 1 << 22
    DECIDED = 1 << 23
    CANCELLED = 1 << 24
    EXPIRED = 1 << 25
    FAILED = 1 << 26
    DIGESTED = 1 << 27
    CHAIN = 1 << 28
    """The channels are used one after the other: one that fails is no loss."""
    SPREAD = 1 << 29
    """A broadcast: its subscribers have notifications of their own."""


CHAINS = frozenset({"first_available", "escalate"})
"""Strategies that use the channels one after the other."""

NAMES: tuple[str, ...] = tuple(status.name.lower() for status in Status)
"""A status's word in the API, by number."""

WAITING = frozenset({Status.PLANNED, Status.RETRYING, Status.UNKNOWN})
"""Planned deliveries that have not come to an end."""

Claim = tuple[int, int, str, int]
"""(weight, status, reason, time in microseconds since 2000): the greater one holds."""

_PUT_OFF, _PLANNED, _TRYING, _CLOSED, _TAKEN = range(5)
_TIME_BITS = 51  # microseconds since 2000 until 2071
_TIME_MASK = (1 << _TIME_BITS) - 1
_TIER_SHIFT = 60
_MOST_ATTEMPTS = 127

_K = event_pb2.EventKind
Step = tuple[int, int, int]
"""(tier, status, rank in the tier)"""

KIND_STEPS: Mapping[int, Step] = {
    _K.EVENT_KIND_DEFERRED: (_PUT_OFF, Status.DEFERRED.value, 0),
    _K.EVENT_KIND_DIGESTED: (_PUT_OFF, Status.DIGESTED.value, 0),
    _K.EVENT_KIND_RETRYING: (_TRYING, Status.RETRYING.value, 0),
    _K.EVENT_KIND_UNKNOWN: (_TRYING, Status.UNKNOWN.value, 1),
    _K.EVENT_KIND_CANCELLED: (_CLOSED, Status.CANCELLED.value, 0),
    _K.EVENT_KIND_SUPERSEDED: (_CLOSED, Status.SUPERSEDED.value, 0),
    _K.EVENT_KIND_EXPIRED: (_CLOSED, Status.EXPIRED.value, 0),
    _K.EVENT_KIND_SUPPRESSED: (_CLOSED, Status.SUPPRESSED.value, 0),
    _K.EVENT_KIND_FAILED: (_CLOSED, Status.FAILED.value, 0),
    _K.EVENT_KIND_DEAD_LETTERED: (_CLOSED, Status.DEAD_LETTERED.value, 0),
    _K.EVENT_KIND_REDRIVEN: (_CLOSED, Status.RETRYING.value, 0),
    _K.EVENT_KIND_SENT: (_TAKEN, Status.SENT.value, 0),
    _K.EVENT_KIND_UNDELIVERED: (_TAKEN, Status.FAILED.value, 1),
    _K.EVENT_KIND_DELIVERED: (_TAKEN, Status.DELIVERED.value, 2),
    _K.EVENT_KIND_OPENED: (_TAKEN, Status.OPENED.value, 3),
    _K.EVENT_KIND_CLICKED: (_TAKEN, Status.CLICKED.value, 4),
    _K.EVENT_KIND_READ: (_TAKEN, Status.READ.value, 5),
}
"""Event kind -> step. Other kinds claim nothing."""

OUTCOME_STEPS: Mapping[str, Step] = {
    "standby": (_PUT_OFF, Status.STANDBY.value, 0),
    "planned": (_PLANNED, Status.PLANNED.value, 0),
    "deferred": (_PUT_OFF, Status.DEFERRED.value, 0),
    "digested": (_PUT_OFF, Status.DIGESTED.value, 0),
    "skipped": (_CLOSED, Status.SKIPPED.value, 0),
    "rate_limited": (_CLOSED, Status.RATE_LIMITED.value, 0),
    "suppressed": (_CLOSED, Status.SUPPRESSED.value, 0),
    "superseded": (_CLOSED, Status.SUPERSEDED.value, 0),
    "expired": (_CLOSED, Status.EXPIRED.value, 0),
    "failed": (_CLOSED, Status.FAILED.value, 0),
}
"""Outcome of a channel's decision -> step."""

KIND_FACTS: Mapping[int, Fact] = {
    _K.EVENT_KIND_SCHEDULED: Fact.SCHEDULED,
    _K.EVENT_KIND_DEFERRED: Fact.DEFERRED,
    _K.EVENT_KIND_DIGESTED: Fact.DIGESTED,
    _K.EVENT_KIND_DECIDED: Fact.DECIDED,
    _K.EVENT_KIND_CANCELLED: Fact.CANCELLED,
    _K.EVENT_KIND_SUPERSEDED: Fact.CANCELLED,
    _K.EVENT_KIND_EXPIRED: Fact.EXPIRED,
    _K.EVENT_KIND_FAILED: Fact.FAILED,
    _K.EVENT_KIND_DEAD_LETTERED: Fact.FAILED,
    _K.EVENT_KIND_SPREAD: Fact.SPREAD,
}
"""What an event that names no channel says about the whole notification."""

ATTEMPT_OUTCOMES: Mapping[int, int] = {
    # The last of too many attempts has no event of its own unless it was unknown.
    _K.EVENT_KIND_DEAD_LETTERED: 0,
    _K.EVENT_KIND_UNKNOWN: 1,
    _K.EVENT_KIND_RETRYING: 2,
    _K.EVENT_KIND_FAILED: 3,
    _K.EVENT_KIND_SENT: 4,
}
"""Event kind -> outcome of its attempt; of two for one attempt the greater holds."""

ATTEMPT_NAMES = ("failed", "unknown", "retrying", "failed", "sent")


def claim(step: Step, reason: str, time: int, attempt: int = 0) -> Claim:
    """What one event says; ``time`` is in microseconds since 2000, UTC."""
    tier, status, rank = step
    at = time if 0 <= time <= _TIME_MASK else min(max(time, 0), _TIME_MASK)
    if tier in (_TAKEN, _PLANNED):
        order = rank << _TIME_BITS | (_TIME_MASK - at)
    elif tier == _TRYING:
        tries = min(attempt, _MOST_ATTEMPTS)
        order = (tries << 1 | rank) << _TIME_BITS | at
    else:
        order = at
    return tier << _TIER_SHIFT | order, status, reason, time


def bits(*statuses: Status) -> int:
    """The statuses as a mask."""
    return sum(1 << status for status in statuses)


GOOD = bits(Status.SENT, Status.DELIVERED, Status.OPENED, Status.CLICKED, Status.READ)
BAD = bits(Status.FAILED, Status.DEAD_LETTERED)
_PENDING = bits(Status.PLANNED, Status.RETRYING, Status.UNKNOWN)
_LATER = bits(Status.DEFERRED, Status.DIGESTED)
PUT_OFF = _LATER | bits(Status.STANDBY)
_GIVEN_UP = bits(Status.CANCELLED, Status.SUPERSEDED, Status.EXPIRED) | Fact.CANCELLED


@dataclass(frozen=True, slots=True)
class Rule:
    """A notification has ``status`` when the mask meets every set and not ``never``."""

    status: str
    every: tuple[int, ...] = ()
    never: int = 0

    def holds(self, mask: int) -> bool:
        """Whether the rule is met."""
        return not mask & self.never and all(mask & some for some in self.every)


RULES: tuple[Rule, ...] = (
    Rule("partially_failed", (GOOD, BAD), _PENDING | _LATER | Fact.CHAIN),
    Rule("read", (bits(Status.READ),)),
    Rule("delivered", (bits(Status.DELIVERED, Status.OPENED, Status.CLICKED),)),
    Rule("sent", (bits(Status.SENT),)),
    Rule("processing", (_PENDING,)),
    Rule("cancelled", (_LATER, Fact.CANCELLED)),
    Rule("deferred", (bits(Status.DEFERRED),)),
    # It has come to its end: what it became part of is a notification of its own.
    Rule("digested", (bits(Status.DIGESTED),)),
    # The channel before failed, and the next one has its turn.
    Rule(
        "processing", (bits(Status.STANDBY), BAD | bits(Status.SUPPRESSED)), _GIVEN_UP
    ),
    Rule("failed", (BAD,)),
    Rule("cancelled", (bits(Status.CANCELLED, Status.SUPERSEDED),)),
    Rule("expired", (bits(Status.EXPIRED),)),
    Rule("rate_limited", (bits(Status.RATE_LIMITED),)),
    Rule("skipped", (bits(Status.SKIPPED, Status.SUPPRESSED),)),
    # From here on no channel has a state.
    Rule("cancelled", (Fact.CANCELLED,)),
    Rule("spread", (Fact.SPREAD,)),
    Rule("expired", (Fact.EXPIRED,)),
    Rule("failed", (Fact.FAILED,)),
    Rule("digested", (Fact.DIGESTED,)),
    Rule("skipped", (Fact.DECIDED,)),
    Rule("deferred", (Fact.DEFERRED,)),
    Rule("scheduled", (Fact.SCHEDULED,)),
    Rule("processing"),
)
"""The first rule that holds gives a notification's status."""

NOTIFICATION_STATUSES = tuple(dict.fromkeys(rule.status for rule in RULES))


def notification_status(mask: int) -> str:
    """The status of a notification from its facts and its channels' outcomes."""
    return next(rule.status for rule in RULES if rule.holds(mask))


def outcomes(deliveries: Iterable[tuple[str, bool, int]]) -> int:
    """The outcomes of all channels as a mask, from (channel, is a delivery, status).

    Within a channel one good device outweighs failed ones (people change phones), and
    what had been put off no longer counts once there are deliveries.
    """
    masks: dict[str, int] = {}
    planned: set[str] = set()
    for channel, is_delivery, status in deliveries:
        masks[channel] = masks.get(channel, 0) | 1 << status
        if is_delivery:
            planned.add(channel)
    total = 0
    for channel, mask in masks.items():
        if channel in planned:
            mask &= ~PUT_OFF
        total |= mask & ~BAD if mask & GOOD else mask
    return total
