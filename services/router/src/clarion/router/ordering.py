"""Per-recipient ordering: a person's notifications of one type, one after the other.

Each ordered notification takes its place in the order of its person and type when it is
accepted, before it is stored; what is scheduled, and what comes from a schedule or a
topic, when it is decided. The channels hold back the deliveries of whoever is not in
front (claims.lua), and take note of what is over (end_turns.lua has what is stored).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.router.plan import DEFERRED, Plan
from clarion.runtime.breaker import Breaker
from clarion.runtime.keys import order_key, turn_key
from clarion.runtime.valkey import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT = timedelta(hours=26)
"""How long an order is kept after its last change: longer than anyone holds others."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was decided about one ordered notification."""

    item: IntakeItem
    deliveries: tuple[str, ...]
    """The ids of what is handed over now."""
    comes_again: bool
    """Whether some of its channels are decided later."""


class Turns(Protocol):
    """The orders of persons and types; each call is for one tenant.

    Every call may raise UnavailableError, and may be repeated.
    """

    async def join(self, items: Sequence[IntakeItem]) -> None:
        """Puts accepted ones at the end of their orders, in the order given."""
        ...

    async def leave(self, items: Sequence[IntakeItem]) -> None:
        """Takes those out again that were refused."""
        ...

    async def decided(self, turns: Sequence[Turn]) -> None:
        """Takes note of what is to be waited for. Of nothing: it makes room.

        Those that have no place yet get the one of their acceptance.
        """
        ...

    async def cancelled(self, tenant: str, notification_id: str) -> None:
        """No decision about it comes any more."""
        ...


def turn_of(plan: Plan, deliveries: Sequence[str]) -> Turn:
    """What a final plan makes the next ones wait for."""
    return Turn(
        plan.item,
        tuple(deliveries),
        any(channel.outcome == DEFERRED for channel in plan.channels),
    )


def _keys(items: Sequence[IntakeItem]) -> list[str]:
    return [
        key
        for item in items
        for key in (
            order_key(
                item.tenant_id, item.notification.user_id, item.notification.type
            ),
            turn_key(item.tenant_id, item.notification_id),
        )
    ]


def _place(item: IntakeItem) -> int:
    """When it takes its place, in microseconds: accepted, or scheduled for later."""
    place = item.accepted_time.ToMicroseconds()
    if item.notification.HasField("scheduled_at"):
        place = max(place, item.notification.scheduled_at.ToMicroseconds())
    return place


class ValkeyTurns:
    """Implements Turns where the channels look."""

    def __init__(self, valkey: Redis, breaker: Breaker) -> None:
        def script(name: str) -> Any:
            text = files(__package__).joinpath(f"lua/{name}.lua").read_text("utf-8")
            return valkey.register_script(text)

        self._valkey: Any = valkey
        self._breaker = breaker
        self._join, self._leave = script("join_order"), script("leave_order")
        self._decided, self._cancelled = script("decide_turns"), script("cancel_turn")
        self._kept = KEPT // timedelta(milliseconds=1)

    async def join(self, items: Sequence[IntakeItem]) -> None:
        # Accepting does not wait for Valkey.
        await self._soon(
            lambda: self._join(
                _keys(items), [self._kept, *(item.notification_id for item in items)]
            )
        )

    async def leave(self, items: Sequence[IntakeItem]) -> None:
        await self._soon(
            lambda: self._leave(_keys(items), [item.notification_id for item in items])
        )

    async def decided(self, turns: Sequence[Turn]) -> None:
        told = [
            " ".join(
                (
                    turn.item.notification_id,
                    str(_place(turn.item)),
                    str(turn.item.release),
                    "1" if turn.comes_again else "0",
                    *turn.deliveries,
                )
            )
            for turn in turns
        ]
        with redis_errors():
            await self._decided(
                _keys([turn.item for turn in turns]), [self._kept, *told]
            )

    async def cancelled(self, tenant: str, notification_id: str) -> None:
        turn = turn_key(tenant, notification_id)
        with redis_errors():
            order = await self._valkey.hget(turn, "order")
            if order is not None:
                await self._cancelled([order, turn], [notification_id])

    async def _soon(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def call() -> None:
            with redis_errors():
                await ask()

        await self._breaker.call(call)


class InMemoryTurns:
    """Records what it is told, for tests. Set ``error`` to make every call raise it."""

    def __init__(self) -> None:
        self.joined: list[str] = []
        self.turns: list[Turn] = []
        self.gone: list[str] = []
        self.error: Exception | None = None

    async def join(self, items: Sequence[IntakeItem]) -> None:
        self._fail()
        self.joined += [item.notification_id for item in items]

    async def leave(self, items: Sequence[IntakeItem]) -> None:
        self._fail()
        for item in items:
            self.joined.remove(item.notification_id)

    async def decided(self, turns: Sequence[Turn]) -> None:
        self._fail()
        self.turns += turns

    async def cancelled(self, tenant: str, notification_id: str) -> None:
        self._fail()
        self.gone.append(notification_id)

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
