"""The use case: messages of delivery jobs are claimed, sent, and stored as results."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from google.protobuf.message import DecodeError

from clarion.api.event.v1.work_pb2 import DeliveryChunk, DeliveryJob
from clarion.runtime.clock import Clock
from clarion.runtime.delivery.claims import LEASE, Ask, Claim, ClaimState
from clarion.runtime.delivery.entry import Entry, Ticket
from clarion.runtime.delivery.follow_ups import HEADER, FollowUps
from clarion.runtime.delivery.lanes import (
    DEFAULT_LANES,
    JobSlots,
    LaneLimits,
    limits_of,
)
from clarion.runtime.delivery.line import Line
from clarion.runtime.delivery.outcome import Outcome
from clarion.runtime.delivery.provider import Choose, Provider
from clarion.runtime.delivery.provider_health import ProviderHealth
from clarion.runtime.delivery.recorder import Recorder
from clarion.runtime.delivery.spans import start_span
from clarion.runtime.delivery.turns import is_over, wait_for
from clarion.runtime.errors import TransientError
from clarion.runtime.jetstream.errors import PoisonError
from clarion.runtime.jetstream.inbound import Inbound
from clarion.runtime.pacing import Governor
from clarion.runtime.streams import FLOWS, flow_of, is_lower, lane_of

_log = logging.getLogger(__name__)

MOST_AT_ONCE = 256
"""Jobs that are claimed together."""
STEP = 32
"""Jobs that a flow sends at a time which makes way for what is fast: what a higher one
may find before it in a claim, at the provider and in the loop of this process."""

_IN_LINE = 2.0
"""Seconds that a step waits with what is held back: it takes room in its lane."""

_OURS = (ClaimState.CLAIMED, ClaimState.TAKEN_OVER)


class Claimer(Protocol):
    """Who may send a delivery: ``Claims``."""

    async def claim(self, asks: Sequence[Ask]) -> list[Claim]:
        """Claims the jobs, in the order given. Raises UnavailableError."""
        ...

    async def renew(self, asks: Iterable[tuple[DeliveryJob, str]]) -> int:
        """Makes leases last from now on."""
        ...


class DeliveryWorker:
    """Delivers the jobs of one channel. A message is done when ``handle`` returns.

    Raises TransientError while jobs cannot be claimed: nothing was sent, call again.
    """

    def __init__(
        self,
        channel: str,
        providers: Sequence[Provider],
        *,
        claims: Claimer,
        recorder: Recorder,
        clock: Clock,
        choose: Choose | None = None,
        follow_ups: FollowUps | None = None,
        lanes: Mapping[str, LaneLimits] = DEFAULT_LANES,
        lease: timedelta = LEASE,
        governor: Governor | None = None,
    ) -> None:
        self._channel = channel
        self._governor = governor or Governor(STEP)
        self._first = providers[0]
        self._choose = choose if len(providers) > 1 else None
        self._claims = claims
        self._recorder = recorder
        self._clock = clock
        self._follow_ups = follow_ups
        self._slots = {flow: JobSlots(limits_of(lanes, flow).jobs) for flow in FLOWS}
        self._line = Line()
        self._renew_every = lease.total_seconds() / 3
        # Distinguishes this process from all that ever wrote a lease.
        self._name = os.urandom(6).hex()
        self._calls: dict[Ticket, tuple[float, Sequence[Entry]]] = {}
        self.health = {provider.name: ProviderHealth(clock) for provider in providers}

    def handler(self, lane: str) -> Callable[[Sequence[Inbound]], Awaitable[None]]:
        """``handle`` for a consumer of one lane, or of a part of its overflow."""

        async def handle(messages: Sequence[Inbound]) -> None:
            await self.handle(lane, messages)

        return handle

    async def handle(self, lane: str, messages: Sequence[Inbound]) -> None:
        """Deals with every job of the messages; returns when all is stored."""
        entries: list[Entry] = []
        told: list[Inbound] = []
        for message in messages:
            if HEADER in message.headers:
                told.append(message)
            else:
                entries += self._decoded(lane, message)
        if told:
            await self._resume(told)
        if entries:
            since = min(message.stored_time for message in messages)
            await self._deliver_in_turn(lane, entries, since)

    async def keep_leases(self) -> None:
        """Renews the leases of calls that take long, until cancelled."""
        while True:
            await asyncio.sleep(self._renew_every)
            since = self._clock.monotonic() - self._renew_every
            late = [
                (entry.job, entry.owner)
                for started, entries in self._calls.values()
                if started <= since
                for entry in entries
            ]
            if not late:
                continue
            try:
                await self._claims.renew(late)
            except TransientError:
                _log.warning("leases not renewed", extra={"jobs": len(late)})

    def _decoded(self, lane: str, message: Inbound) -> list[Entry]:
        try:
            jobs = DeliveryChunk.FromString(message.data).jobs
        except DecodeError as wrong:
            raise PoisonError(
                "undecodable", "the message is no DeliveryChunk"
            ) from wrong
        # The same delivery of a message gives the same owners, so that a held call
        # finds its own leases; a redelivery does not, nor does a copy in one message.
        received = int(message.received * 1000)
        owner = f"{self._name}:{message.sequence}:{message.deliveries}:{received:x}"
        by = lane_of(lane)
        entries = []
        for place, job in enumerate(jobs):
            if not job.delivery_id or not job.tenant_id:
                raise PoisonError("incomplete_job", "no delivery_id or no tenant_id")
            # The queue that it came by decides, retries go back there; only what rode
            # with a higher lane has a lane of its own.
            own = lane
            if job.priority != by:
                if is_lower(job.priority, by):
                    own = job.priority
                else:
                    job.priority = by
            if job.channel != self._channel:
                job.channel = self._channel
            entries.append(Entry(job, f"{owner}:{place}", own))
        return entries

    async def _resume(self, messages: Sequence[Inbound]) -> None:
        follow_ups = self._follow_ups
        if follow_ups is None:
            raise PoisonError("unexpected_follow_up", "this channel has none")
        await asyncio.gather(
            *(
                follow_ups.resume(message.data, message.headers[HEADER])
                for message in messages
            )
        )

    async def _deliver_in_turn(
        self, flow: str, entries: Sequence[Entry], since: datetime
    ) -> None:
        """In steps, as there is room for them and as they are admitted."""
        tenants = {entry.job.tenant_id for entry in entries}
        slots = self._slots[flow_of(flow)]
        if len(entries) <= STEP:
            # Nearly always while there is no backlog.
            await self._governor.admit(flow, tenants, len(entries), since)
            await slots.take(len(entries), flow)
            await self._deliver_taken(slots, entries)
            return
        steps: list[asyncio.Task[None]] = []
        start = 0
        try:
            while start < len(entries):
                most = min(len(entries) - start, MOST_AT_ONCE)
                step = await self._governor.admit(flow, tenants, most, since)
                # Before the task, so that what waits for room is not under way.
                await slots.take(step, flow)
                own = self._deliver_taken(slots, entries[start : start + step])
                name = f"{self._channel} step"
                steps.append(asyncio.create_task(own, name=name))
                start += step
        finally:
            outcomes = await asyncio.gather(*steps, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _deliver_taken(self, slots: JobSlots, entries: Sequence[Entry]) -> None:
        try:
            await self._deliver(entries)
        finally:
            slots.give_back(len(entries))

    async def _deliver(self, entries: Sequence[Entry]) -> None:
        """Whoever is held back goes on when those in front are over, if it is soon."""
        until = self._clock.monotonic() + _IN_LINE
        looks = 0
        while True:
            held_back = await self._claim(entries)
            if not held_back:
                await self._finish(entries)
                return
            claimed = [entry for entry in entries if not _is_held_back(entry)]
            with self._line.places(held_back) as places:
                await self._finish(claimed)
                left = until - self._clock.monotonic()
                if left <= 0:
                    break
                longest = wait_for(looks, places.ahead).total_seconds()
                await places.wait(min(left, longest))
            entries = held_back
            looks += 1
        await self._look_later(held_back)

    async def _claim(self, entries: Sequence[Entry]) -> list[Entry]:
        """Every entry knows its claim then; those that are held back."""
        now = self._clock.now().timestamp()
        claims = await self._claims.claim(
            [Ask(e.job, e.owner, _is_expired(e.job, now)) for e in entries]
        )
        for entry, claim in zip(entries, claims, strict=True):
            entry.claim = claim
        return [entry for entry in entries if _is_held_back(entry)]

    async def _finish(self, entries: Sequence[Entry]) -> None:
        """Sends what is ours; returns when all is stored."""
        ticket = self._begin(entries)
        to_send: list[Entry] = []
        for entry in entries:
            if entry.claim.state in _OURS:
                to_send.append(entry)
            else:
                self._recorder.add(entry)
        self._calls[ticket] = (self._clock.monotonic(), to_send)
        try:
            if to_send:
                await self._send(to_send)
            await ticket.done
        finally:
            del self._calls[ticket]
        for entry in entries:
            if entry.job.ordered and is_over(entry):
                self._line.is_over(entry.job)

    async def _look_later(self, held_back: Sequence[Entry]) -> None:
        ticket = self._begin(held_back)
        for entry in held_back:
            self._recorder.add(entry)
        await ticket.done

    def _begin(self, entries: Sequence[Entry]) -> Ticket:
        ticket = Ticket(len(entries))
        now = self._clock.now()
        for entry in entries:
            entry.ticket = ticket
            entry.at = now
            start_span(entry, self._channel)
        return ticket

    async def _send(self, entries: Sequence[Entry]) -> None:
        if self._choose is None:
            await self._send_by(self._first, entries)
            return
        chosen: dict[str, tuple[Provider, list[Entry]]] = {}
        for entry in entries:
            provider = self._chosen(entry.job)
            chosen.setdefault(provider.name, (provider, []))[1].append(entry)
        await asyncio.gather(
            *(self._send_by(provider, theirs) for provider, theirs in chosen.values())
        )

    def _chosen(self, job: DeliveryJob) -> Provider:
        assert self._choose is not None
        try:
            return self._choose(job)
        except Exception:  # a bug of the service must not stop its channel
            _log.exception("no provider was chosen", extra={"channel": self._channel})
            return self._first

    async def _send_by(self, provider: Provider, entries: Sequence[Entry]) -> None:
        name = provider.name
        health = self.health[name]
        add = self._recorder.add
        clock_now = self._clock.now
        started = clock_now()
        waiting = {entry.job.delivery_id: entry for entry in entries}

        def settle(job: DeliveryJob, outcome: Outcome) -> None:
            entry = waiting.pop(job.delivery_id, None)
            if entry is None:
                return
            entry.at = at = clock_now()
            entry.provider = name
            entry.outcome = outcome
            entry.latency = latency = outcome.latency or _between(started, at)
            health.record(outcome.kind, latency)
            add(entry)

        reason = "unsettled"
        try:
            await provider.send([entry.job for entry in entries], settle)
        except Exception:  # against the contract: nobody knows what was sent
            _log.exception("provider raised", extra={"provider": name})
            reason = "provider_error"
        for entry in list(waiting.values()):
            settle(entry.job, Outcome.unknown(reason))


def _is_held_back(entry: Entry) -> bool:
    return entry.claim.state is ClaimState.HELD_BACK


def _is_expired(job: DeliveryJob, now: float) -> bool:
    if not job.HasField("expires_time"):
        return False
    expires = job.expires_time
    return expires.seconds + expires.nanos / 1e9 <= now


def _between(start: datetime, end: datetime) -> timedelta:
    return max(end - start, timedelta(0))
