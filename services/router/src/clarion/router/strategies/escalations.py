"""Where it is decided whether an escalation goes on: one script in Valkey.

It has one clock for all: a read or a delivery that was marked before the deadline
stops the step, whatever fired meanwhile, and one that is marked later does not. Of a
timer and a fallback of the same step one goes on; the same one may ask again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.strategies.chain import TIMER
from clarion.runtime.keys import escalation_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT = timedelta(days=3)
"""How long an escalation is known after its deadline: longer than any retry lasts."""

_MOST_PER_CALL = 512
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
T = TypeVar("T")
R = TypeVar("R")


class State(Enum):
    """Whether a step is taken. The values are the letters of judge.lua."""

    GOES_ON = "G"
    DELIVERED = "D"
    """The person was reached before."""
    READ = "R"
    """As DELIVERED."""
    EARLY = "E"
    """The deadline is not over by Valkey's clock."""
    TAKEN = "T"
    """Another cause took the step before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer about one step."""

    state: State
    left: timedelta = timedelta(0)
    """With EARLY: until the deadline."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A step was planned, and this begins the time that is left to reach the person."""

    tenant: str
    notification_id: str
    release: int
    """Of the step that follows."""
    after: timedelta


class Escalations(Protocol):
    """What is known of the escalations under way. Raises UnavailableError."""

    async def begin(self, waits: Sequence[Wait]) -> Sequence[datetime]:
        """The deadlines; repeating gives the same ones.

        To be called before anything is sent: what nobody waits for is not marked.
        """
        ...

    async def judge(self, steps: Sequence[IntakeItem]) -> Sequence[Verdict]:
        """Whether the steps (items with an escalation) are taken."""
        ...


class ValkeyEscalations:
    """Implements Escalations; the marks are those of clarion.runtime's reached.py."""

    def __init__(self, valkey: Redis) -> None:
        self._begin: Any = valkey.register_script(_script("begin.lua"))
        self._judge: Any = valkey.register_script(_script("judge.lua"))

    async def begin(self, waits: Sequence[Wait]) -> Sequence[datetime]:
        async def call(own: Sequence[Wait]) -> list[datetime]:
            keys = [escalation_key(wait.tenant, wait.notification_id) for wait in own]
            args: list[int] = [KEPT // _MICROSECOND]
            for wait in own:
                args += (wait.release, wait.after // _MICROSECOND)
            with redis_errors():
                found = await self._begin(keys, args)
            return [_EPOCH + int(deadline) * _MICROSECOND for deadline in found]

        return await _by_tenant(waits, lambda wait: wait.tenant, call)

    async def judge(self, steps: Sequence[IntakeItem]) -> Sequence[Verdict]:
        async def call(own: Sequence[IntakeItem]) -> list[Verdict]:
            keys = [
                escalation_key(step.tenant_id, step.notification_id) for step in own
            ]
            args: list[int | str] = [KEPT // _MICROSECOND]
            for step in own:
                escalation = step.escalation
                args += (
                    step.release,
                    escalation.cause,
                    escalation.until,
                    escalation.deadline.ToMicroseconds(),
                )
            with redis_errors():
                found = await self._judge(keys, args)
            return [_verdict(answer.decode()) for answer in found]

        return await _by_tenant(steps, lambda step: step.tenant_id, call)


def _script(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _verdict(answer: str) -> Verdict:
    return Verdict(State(answer[0]), int(answer[1:] or 0) * _MICROSECOND)


async def _by_tenant(
    items: Sequence[T],
    tenant: Callable[[T], str],
    call: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
) -> list[R]:
    """The answers in the order of the items; a script keeps to one hash slot."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        places[tenant(item)].append(place)
    found: dict[int, R] = {}
    for run in _runs(places.values()):
        found.update(zip(run, await call([items[place] for place in run]), strict=True))
    return [found[place] for place in range(len(items))]


def _runs(places: Iterable[list[int]]) -> Iterable[list[int]]:
    for own in places:
        for start in range(0, len(own), _MOST_PER_CALL):
            yield own[start : start + _MOST_PER_CALL]


@dataclass(slots=True)
class _Known:
    deadlines: dict[int, datetime] = field(default_factory=dict)
    causes: dict[int, str] = field(default_factory=dict)
    marks: dict[str, datetime] = field(default_factory=dict)


class InMemoryEscalations:
    """Implements Escalations, with the marks, by a clock that a test holds.

    Set ``error`` to make every call raise it.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.known: dict[tuple[str, str], _Known] = {}
        self.error: Exception | None = None

    async def begin(self, waits: Sequence[Wait]) -> Sequence[datetime]:
        if self.error is not None:
            raise self.error
        return [
            self.known.setdefault(
                (wait.tenant, wait.notification_id), _Known()
            ).deadlines.setdefault(wait.release, self._now() + wait.after)
            for wait in waits
        ]

    async def judge(self, steps: Sequence[IntakeItem]) -> Sequence[Verdict]:
        if self.error is not None:
            raise self.error
        return [self._judged(step) for step in steps]

    def mark(self, tenant: str, notification_id: str, how: str) -> None:
        """As ReachedMarks.mark."""
        known = self.known.get((tenant, notification_id))
        if known is not None:
            known.marks.setdefault(how, self._now())

    def _judged(self, step: IntakeItem) -> Verdict:
        known = self.known.setdefault((step.tenant_id, step.notification_id), _Known())
        release, cause = step.release, step.escalation.cause
        taken = known.causes.get(release)
        if taken is not None:
            return Verdict(State.GOES_ON if taken == cause else State.TAKEN)
        now = self._now()
        stated = known.deadlines.get(release)
        deadline = stated or step.escalation.deadline.ToDatetime(UTC)
        stops = deadline
        if cause != TIMER and (stated is None or now < deadline):
            stops = now + _MICROSECOND
        for how, state in (("read", State.READ), ("delivered", State.DELIVERED)):
            if how == "delivered" and step.escalation.until != how:
                continue
            at = known.marks.get(how)
            if at is not None and at < stops:
                return Verdict(state)
        if cause == TIMER and now < deadline:
            return Verdict(State.EARLY, deadline - now)
        known.causes[release] = cause
        return Verdict(State.GOES_ON)
