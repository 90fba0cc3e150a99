"""Profiles of people, as a rule asked for while their notifications are being stored.

Deciding needs a profile some milliseconds after accepting, and reading it takes about
as long. What is read ahead was asked for after the call arrived, so it knows of every
change that was answered before; it serves that one notification, soon or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.router.ports import Neighbours
from clarion.router.waits import Waits
from clarion.runtime.clock import Clock
from clarion.runtime.streams import FLOWS

ByUser = Mapping[str, RecipientProfile]

APART = timedelta(milliseconds=10)
"""Between two calls ahead at least: what comes more often shares one when decided."""
MOST = 128
"""Notifications of one call: of more the first are decided before the last are read."""
CALM = timedelta(milliseconds=100)
"""Where a flow waits for as long, what is read ahead would be too old."""
USABLE = timedelta(milliseconds=250)
"""How long after it was asked for a profile may be decided with."""
JUDGED = 256
"""Profiles after which is seen whether it pays."""
REST = timedelta(seconds=30)
"""How long nothing is read ahead where others decide what this process accepts."""


@dataclass(frozen=True, slots=True)
class _Call:
    began: float
    users: Collection[str]
    answer: asyncio.Task[ByUser]


class Profiles:
    """Asks recipients, ahead or when a profile is needed."""

    def __init__(self, neighbours: Neighbours, waits: Waits, clock: Clock) -> None:
        self._neighbours = neighbours
        self._waits = waits
        self._clock = clock
        self._ahead: dict[str, _Call] = {}
        """By notification, the oldest first."""
        self._used = self._wasted = 0
        self._not_before = 0.0

    def ask_ahead(self, tenant: str, user_ids: Mapping[str, str]) -> None:
        """Begins to read what notifications will need, notification id -> user id."""
        now = self._clock.monotonic()
        self._forget(now)
        if now < self._not_before or not 0 < len(user_ids) <= MOST:
            return
        if any(self._waits.longest(flow) >= CALM for flow in FLOWS):
            return
        self._not_before = now + APART.total_seconds()
        users = dict.fromkeys(user_ids.values())
        answer = asyncio.create_task(self._ask(tenant, users), name="profiles ahead")
        answer.add_done_callback(_is_seen)
        call = _Call(now, users, answer)
        for notification_id in user_ids:
            # Behind all that are older.
            self._ahead.pop(notification_id, None)
            self._ahead[notification_id] = call

    async def of(
        self, tenant: str, items: Sequence[IntakeItem]
    ) -> list[RecipientProfile]:
        """The profile for each. Raises TransientError; asked again, it reads anew."""
        since = self._clock.monotonic() - USABLE.total_seconds()
        ahead = [self._taken(item, since) for item in items]
        users = [item.notification.user_id for item in items]
        missing = dict.fromkeys(
            user for user, answer in zip(users, ahead, strict=True) if answer is None
        )
        read = await self._ask(tenant, missing) if missing else {}
        waiting = {answer for answer in ahead if answer is not None}
        if waiting:
            # Not awaited themselves: who is cancelled here must not cancel them.
            await asyncio.wait(waiting)
        return [
            (answer.result() if answer is not None else read)[user]
            for user, answer in zip(users, ahead, strict=True)
        ]

    def _taken(self, item: IntakeItem, since: float) -> asyncio.Task[ByUser] | None:
        call = self._ahead.pop(item.notification_id, None)
        if call is None or call.began < since or item.release:
            return None  # a release reads everything again
        if item.notification.user_id not in call.users:
            return None  # its key was used a second time, for somebody else
        self._used += 1
        return call.answer

    def _forget(self, now: float) -> None:
        """Drops what nobody came for: another process decides it, or it has to wait."""
        while self._ahead:
            notification_id, call = next(iter(self._ahead.items()))
            if call.began >= now - USABLE.total_seconds():
                break
            del self._ahead[notification_id]
            self._wasted += 1
        if self._used + self._wasted >= JUDGED:
            if self._wasted > self._used / 3:
                self._not_before = now + REST.total_seconds()
            self._used = self._wasted = 0

    async def _ask(self, tenant: str, users: Mapping[str, None]) -> ByUser:
        wanted = list(users)
        answers = await self._neighbours.recipients(tenant, wanted)
        return dict(zip(wanted, answers, strict=True))


def _is_seen(answer: asyncio.Task[ByUser]) -> None:
    """Whoever needs a failed answer is told; nobody may."""
    if not answer.cancelled():
        answer.exception()
