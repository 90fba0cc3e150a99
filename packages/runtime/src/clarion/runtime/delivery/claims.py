"""Who sends a delivery: leases and done marks in Valkey, a whole chunk per call.

A delivery is leased before it is sent and marked when it is over, so that of several
workers with the same job (a redelivery, a duplicate) exactly one sends it. A lease of
a worker that died runs out and the next one sends again; that this may double the
message is told (``taken_over``). The scripts beside this module have the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.delivery.many_keys import ManyKeys
from clarion.runtime.delivery.script import Script
from clarion.runtime.keys import (
    cancelled_key,
    claim_key,
    latest_key,
    order_key,
    suppressed_key,
    turn_key,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

LEASE = timedelta(seconds=30)
DONE_TTL = timedelta(hours=24)

_WITH_DETAIL = frozenset("DLO")
_MOST_PER_CALL = 512
"""Jobs in one script call: Valkey does nothing else meanwhile (about 2 us a job)."""


class ClaimState(Enum):
    """What a claim came to. The values are the letters of claims.lua."""

    CLAIMED = "C"
    TAKEN_OVER = "T"
    """Claimed; the worker that had it before never said what became of it."""
    DONE = "D"
    LEASED = "L"
    WAITING = "W"
    """A later attempt of the delivery is scheduled already: this job is a copy."""
    CANCELLED = "X"
    SUPPRESSED = "S"
    SUPERSEDED = "N"
    """A later notification with the same collapse key takes its place."""
    EXPIRED = "E"
    HELD_BACK = "O"
    """Not its turn: an earlier one of its person and type is not over."""


class Ask(NamedTuple):
    """One job to be claimed."""

    job: DeliveryJob
    owner: str
    """Who claims: no spaces; the same for a repetition of the same call."""
    is_expired: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer for one job."""

    state: ClaimState
    outcome: bytes = b""
    """With DONE: what was given to ``Mark.done``."""
    lease_left: timedelta = timedelta(0)
    """With LEASED."""
    ahead: int = 0
    """With HELD_BACK: how many notifications are in front."""


class Mark(NamedTuple):
    """What became of a claimed job."""

    tenant: str
    delivery_id: str
    owner: str
    value: bytes

    @classmethod
    def done(cls, job: DeliveryJob, owner: str, outcome: bytes) -> Mark:
        """It is over; ``outcome`` is what a later claim is told."""
        return cls(job.tenant_id, job.delivery_id, owner, b"D" + outcome)

    @classmethod
    def waiting(cls, job: DeliveryJob, owner: str, attempt: int) -> Mark:
        """It is stored elsewhere and will come back as that attempt."""
        return cls(job.tenant_id, job.delivery_id, owner, b"W%d" % attempt)


_CLAIMED = Claim(ClaimState.CLAIMED)
_PLAIN = {
    state.value: Claim(state)
    for state in ClaimState
    if state.value not in _WITH_DETAIL and state is not ClaimState.CLAIMED
} | {"C": _CLAIMED}


class Claims:
    """The claims of one channel. Every call raises UnavailableError without Valkey."""

    def __init__(
        self,
        redis: Redis,
        *,
        lease: timedelta = LEASE,
        done_ttl: timedelta = DONE_TTL,
    ) -> None:
        self.lease = lease
        self._redis: Any = redis
        self._lease = _millis(lease)
        self._ttl = _millis(max(done_ttl, lease))
        self._claim = Script(redis, "claims.lua")
        self._settle = Script(redis, "settle.lua")
        self._renew = Script(redis, "renew.lua")
        self._end_turns = Script(redis, "end_turns.lua")
        self._done = ManyKeys(redis, self._ttl, self._settle_done)

    async def claim(self, asks: Sequence[Ask]) -> list[Claim]:
        """Claims the jobs, in the order given: one round trip for each tenant."""
        found: list[Claim] = [_CLAIMED] * len(asks)
        for places in _by_tenant([ask.job.tenant_id for ask in asks]):
            keys: list[str] = []
            theirs = [asks[place] for place in places]
            keyed: list[tuple[int, DeliveryJob]] = []
            ordered: list[tuple[int, DeliveryJob]] = []
            for number, ask in enumerate(theirs, 1):
                job = ask.job
                if job.collapse_key:
                    keyed.append((number, job))
                if job.ordered:
                    ordered.append((number, job))
                tenant = job.tenant_id
                keys += (
                    claim_key(tenant, job.delivery_id),
                    cancelled_key(tenant, job.notification_id),
                    suppressed_key(tenant, job.channel, job.target.address),
                )
            keys += [
                latest_key(job.tenant_id, job.user_id, job.collapse_key)
                for _, job in keyed
            ]
            keys += [
                order_key(job.tenant_id, job.user_id, job.type) for _, job in ordered
            ]
            args = [
                self._lease,
                self._ttl,
                "".join([_flag(ask) for ask in theirs]),
                " ".join([_place_in_time(*one) for one in keyed]),
                " ".join(
                    [f"{number} {job.notification_id}" for number, job in ordered]
                ),
                *[f"{ask.owner} {ask.job.attempt or 1} " for ask in theirs],
            ]
            letters, details = await self._claim(keys, args)
            if letters == b"C" * len(places):
                continue
            left = iter(details)
            for place, letter in zip(places, letters.decode(), strict=True):
                found[place] = _claim_of(letter, left)
        return found

    async def settle(self, marks: Sequence[Mark]) -> None:
        """Writes the marks, one call for each tenant; repeating it is safe."""
        for places in _by_tenant([mark.tenant for mark in marks]):
            theirs = [marks[place] for place in places]
            keys = [claim_key(mark.tenant, mark.delivery_id) for mark in theirs]
            values = [mark.value for mark in theirs]
            if all([value[:1] == b"D" for value in values]):
                # A done mark stands whoever writes it.
                await self._done.set(keys, values)
                continue
            owners = " ".join([mark.owner for mark in theirs])
            await self._settle(keys, (self._ttl, owners, *values))

    async def _settle_done(self, keys: Sequence[str], values: Sequence[bytes]) -> None:
        await self._settle(keys, (self._ttl, "", *values))

    async def end_turns(self, jobs: Sequence[DeliveryJob]) -> None:
        """Takes note that deliveries of ordered notifications are over.

        Whoever is next is then no longer held back. Repeating it is safe.
        """
        for places in _by_tenant([job.tenant_id for job in jobs]):
            theirs = [jobs[place] for place in places]
            keys = [
                key
                for job in theirs
                for key in (
                    order_key(job.tenant_id, job.user_id, job.type),
                    turn_key(job.tenant_id, job.notification_id),
                )
            ]
            ids = [part for j in theirs for part in (j.notification_id, j.delivery_id)]
            await self._end_turns(keys, ids)

    async def renew(self, asks: Iterable[tuple[DeliveryJob, str]]) -> int:
        """Makes leases (job, owner) last from now on; how many still were held."""
        pairs = list(asks)
        kept = 0
        for places in _by_tenant([job.tenant_id for job, _ in pairs]):
            keys = [
                claim_key(pairs[p][0].tenant_id, pairs[p][0].delivery_id)
                for p in places
            ]
            owners = " ".join([pairs[p][1] for p in places])
            kept += int(await self._renew(keys, (self._lease, self._ttl, owners)))
        return kept


def _place_in_time(number: int, job: DeliveryJob) -> str:
    accepted = job.accepted_time.ToMicroseconds()
    return f"{number} {accepted} {job.notification_id}"


def _flag(ask: Ask) -> str:
    if ask.is_expired:
        return "1"
    # What somebody needs may be mailed to them also after they unsubscribed.
    return "2" if ask.job.critical and ask.job.channel == "email" else "0"


def _claim_of(letter: str, details: Any) -> Claim:
    if letter == "D":
        return Claim(ClaimState.DONE, outcome=next(details))
    if letter == "L":
        return Claim(
            ClaimState.LEASED, lease_left=timedelta(milliseconds=int(next(details)))
        )
    if letter == "O":
        return Claim(ClaimState.HELD_BACK, ahead=int(next(details)))
    return _PLAIN[letter]


def _by_tenant(tenants: Sequence[str]) -> Iterable[Sequence[int]]:
    """Places by tenant: a script may only touch keys of one hash slot."""
    count = len(tenants)
    if count <= _MOST_PER_CALL and len(set(tenants)) <= 1:
        return [range(count)] if count else []
    places: dict[str, list[int]] = {}
    for place, tenant in enumerate(tenants):
        places.setdefault(tenant, []).append(place)
    return [
        run[start : start + _MOST_PER_CALL]
        for run in places.values()
        for start in range(0, len(run), _MOST_PER_CALL)
    ]


def _millis(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))
