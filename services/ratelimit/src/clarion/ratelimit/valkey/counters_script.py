"""The call of counters.lua for permits of several counters, and its reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha1
from importlib import resources
from itertools import groupby
from operator import attrgetter
from typing import Any

from clarion.ratelimit.counters import (
    WHOLE,
    Counter,
    category_windows,
    soonest,
)
from clarion.ratelimit.ports import Permit
from clarion.ratelimit.window import Refusal, Verdict, Window

SCRIPT = (resources.files(__package__) / "counters.lua").read_text(encoding="utf-8")
_SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


def call(prefix: str, permits: Sequence[Permit], now: int) -> list[Any]:
    """The command that judges the permits in order."""
    keys: list[str] = []
    arguments: list[Any] = [now]
    for permit in permits:
        groups = [list(group) for _, group in _groups(_counters(permit))]
        arguments += (permit.request_id, permit.channels, len(groups))
        for group in groups:
            arguments.append(len(group))
            for counter in group:
                keys.append(f"{prefix}{counter.scope}/{permit.user_id}")
                arguments += (counter.retention, len(counter.windows))
                for span, most, _ in counter.windows:
                    arguments += (span, most)
    return ["EVALSHA", _SHA, len(keys), *keys, *arguments]


def verdicts(permits: Sequence[Permit], reply: Sequence[int]) -> Iterator[Verdict]:
    """What the script said about each."""
    numbers = iter(reply)
    for permit in permits:
        counters = _counters(permit)
        windows = [window for counter in counters for window in counter.windows]
        channels = [channel for channel, _ in _groups(counters)]
        allowed, day, week, full, free, count = (next(numbers) for _ in range(6))
        refusals = tuple(
            _refusal(channels[next(numbers) - 1], windows, next(numbers), next(numbers))
            for _ in range(count)
        )
        told: tuple[str, int, str] = ("", 0, "")
        if full:
            told = _refusal(WHOLE, windows, full, free)[1:4]
        elif not allowed:
            told = soonest(refusals)
        yield Verdict(bool(allowed), day, week, *told, refusals=refusals)


def _refusal(channel: str, windows: Sequence[Window], full: int, free: int) -> Refusal:
    window = windows[full - 1]
    return Refusal(channel, window.name, free, window.policy_id)


def _counters(permit: Permit) -> tuple[Counter, ...]:
    """All of them, also of a permit that only has that of its category."""
    if permit.counters:
        return permit.counters
    windows = category_windows(permit.limit, "", "")
    return (Counter(permit.category, WHOLE, windows),)


def _groups(counters: Sequence[Counter]) -> Iterator[tuple[str, Iterator[Counter]]]:
    return groupby(counters, attrgetter("channel"))
