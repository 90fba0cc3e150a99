"""All counters of one permit, judged together. Pure; counters.lua is the same in Lua.

A counter is what one person was given of one scope. The counters of a permit come in
groups: those that hold for all of it and those of each channel. A group has room when
all windows of its counters have; a request that is in any counter of a group holds its
permit already. What has room is counted, or nothing is: when the group of the whole is
full, or those of all channels that were asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from clarion.ratelimit.window import DAY, WEEK, Limit, Refusal, Verdict, Window, usage

WHOLE = ""
"""The group of the counters that are of no channel."""


class Counter(NamedTuple):
    """What one person is given of one scope."""

    scope: str
    """Names the counter, with tenant and person."""
    channel: str
    """The group; those of one group are neighbours, the whole comes first."""
    windows: tuple[Window, ...]

    @property
    def retention(self) -> int:
        """How long a request is remembered: long enough for any redelivery."""
        return max(DAY, *(window.span for window in self.windows), 0)


class Taken(NamedTuple):
    """A verdict, and the scopes in which the request is counted from now on."""

    verdict: Verdict
    scopes: tuple[str, ...]


def category_windows(limit: Limit, daily_id: str, weekly_id: str) -> tuple[Window, ...]:
    """The windows that every category has; those of the first counter."""
    return (Window(DAY, limit.daily, daily_id), Window(WEEK, limit.weekly, weekly_id))


def judge_all(
    request_id: str,
    counters: Sequence[Counter],
    channels: int,
    taken: Mapping[str, Mapping[str, int]],
    now: int,
) -> Taken:
    """Judges one more permit of the first counter's category at ``now``.

    ``channels`` is how many were asked for; ``taken`` is by scope and request id when
    it was taken, older ones than count included.
    """
    refusals: list[Refusal] = []
    scopes: list[str] = []
    used = usage(_times(taken, counters[0], now), now)
    for channel, grouped in groupby(counters, attrgetter("channel")):
        group = list(grouped)
        if any(_holds(request_id, taken, counter, now) for counter in group):
            continue
        refusal = _refusal(channel, group, taken, now)
        if refusal is None:
            scopes += [counter.scope for counter in group]
        elif channel == WHOLE:
            return Taken(Verdict(False, used[0], used[1], *refusal[1:4]), ())
        else:
            refusals.append(refusal)
    return Taken(*settled(used, refusals, channels, scopes, counters[0].scope))


def settled(
    used: tuple[int, int],
    refusals: Sequence[Refusal],
    channels: int,
    scopes: Iterable[str],
    first: str,
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict where the whole has room, and where it is counted."""
    if refusals and len(refusals) >= channels:
        told = soonest(refusals)
        return Verdict(False, used[0], used[1], *told, refusals=tuple(refusals)), ()
    counted = tuple(scopes)
    if first in counted:
        used = (used[0] + 1, used[1] + 1)
    return Verdict(True, *used, refusals=tuple(refusals)), counted


def soonest(refusals: Sequence[Refusal]) -> tuple[str, int, str]:
    """What is told of the whole when no channel has room: the first that will have."""
    ever = [refusal for refusal in refusals if refusal.available]
    if not ever:
        return refusals[0][1:4]
    return min(ever, key=attrgetter("available"))[1:4]


def _refusal(
    channel: str,
    group: Sequence[Counter],
    taken: Mapping[str, Mapping[str, int]],
    now: int,
) -> Refusal | None:
    found: Refusal | None = None
    for counter in group:
        times = _times(taken, counter, now)
        for window in counter.windows:
            in_span = [time for time in times if time > now - window.span]
            if len(in_span) < window.most:
                continue
            if not window.most:
                return Refusal(channel, window.name, 0, window.policy_id)
            # There is room when the most-th newest permit leaves its window.
            free = times[-window.most] + window.span
            if found is None or free > found.available:
                found = Refusal(channel, window.name, free, window.policy_id)
    return found


def _times(
    taken: Mapping[str, Mapping[str, int]], counter: Counter, now: int
) -> list[int]:
    edge = now - counter.retention
    return sorted(t for t in taken.get(counter.scope, {}).values() if t > edge)


def _holds(
    request_id: str,
    taken: Mapping[str, Mapping[str, int]],
    counter: Counter,
    now: int,
) -> bool:
    time = taken.get(counter.scope, {}).get(request_id)
    return time is not None and time > now - counter.retention
