"""Doubles of the ports for the unit tests of services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from clarion.runtime.jetstream.inbound import NO_HEADERS


@dataclass(frozen=True, slots=True)
class Published:
    """One stored message."""

    subject: str
    body: bytes
    message_id: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One message that waits for its time."""

    subject: str
    target: str
    due: datetime
    body: bytes
    message_id: str
    headers: Mapping[str, str]


class InMemoryPublisher:
    """Records what is published and folds repeated ids, as a stream does.

    Set ``error`` to make every publish raise it. ``tries`` counts all calls.
    """

    def __init__(self) -> None:
        self.published: list[Published] = []
        self.error: Exception | None = None
        self.tries = 0
        self._ids: set[str] = set()

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.tries += 1
        if self.error is not None:
            raise self.error
        if message_id in self._ids:
            return
        self._ids.add(message_id)
        self.published.append(
            Published(subject, body, message_id, dict(headers or NO_HEADERS))
        )

    def on(self, subject: str) -> list[Published]:
        """What was published on that subject, oldest first."""
        return [message for message in self.published if message.subject == subject]


class InMemoryScheduler:
    """Records what is scheduled, one per subject; ``fire`` makes time pass.

    Set ``error`` to make every call raise it.
    """

    def __init__(self) -> None:
        self.scheduled: dict[str, Scheduled] = {}
        self.error: Exception | None = None

    async def schedule(
        self,
        subject: str,
        *,
        target: str,
        due: datetime,
        body: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if self.error is not None:
            raise self.error
        self.scheduled[subject] = Scheduled(
            subject, target, due, body, message_id, dict(headers or NO_HEADERS)
        )

    async def cancel(self, subject: str) -> int:
        if self.error is not None:
            raise self.error
        gone = [known for known in self.scheduled if _matches(subject, known)]
        for known in gone:
            del self.scheduled[known]
        return len(gone)

    def fire(self, now: datetime) -> list[Scheduled]:
        """Takes out and returns what is due, earliest first."""
        due = sorted(
            (entry for entry in self.scheduled.values() if entry.due <= now),
            key=lambda entry: entry.due,
        )
        for entry in due:
            del self.scheduled[entry.subject]
        return due


def _matches(pattern: str, subject: str) -> bool:
    wanted = pattern.split(".")
    tokens = subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(
        want in ("*", token) for want, token in zip(wanted, tokens, strict=True)
    )
