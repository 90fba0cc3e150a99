"""Cron lines of five fields, and when they come next in a time zone. Pure.

A line names minutes of a wall clock. Each of them that matches counts once, at the
first instant at which the clock of the zone shows it or has gone past it:

* set forward over 02:30, a job of 02:30 comes at the first instant after the gap, and
  all that lay in one gap comes together;
* set back over 02:30, it comes the first time only. That holds for ``*`` as well: what
  runs every minute pauses until the clock shows a new time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

HORIZON_DAYS = 41 * 366
"""How far the next match is looked for: a Sunday the 29th of February can be 40 years
away."""

_MONTHS = dict(
    jan=1,
    feb=2,
    mar=3,
    apr=4,
    may=5,
    jun=6,
    jul=7,
    aug=8,
    sep=9,
    oct=10,
    nov=11,
    dec=12,
)
_WEEKDAYS = dict(sun=0, mon=1, tue=2, wed=3, thu=4, fri=5, sat=6)
_ITEM = re.compile(
    r"(?P<first>\*|[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?(?:/(?P<step>\d+))?"
)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class CronError(ValueError):
    """A line that cannot be read; the text says what to write instead."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line."""

    times: tuple[time, ...]
    """The times of a day, in order."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    any_day: bool
    """Whether a day has to match the day of the month or the weekday and not both:
    so in cron when neither field begins with a star."""

    def is_on(self, day: date) -> bool:
        """Whether it comes on that day at all."""
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        return (by_day or by_weekday) if self.any_day else (by_day and by_weekday)

    def is_at(self, local: datetime) -> bool:
        """Whether it names that minute of a wall clock."""
        return self.is_on(local.date()) and time(local.hour, local.minute) in self.times


@lru_cache(maxsize=4096)
def parse(line: str) -> Cron:
    """Reads "minute hour day month weekday".

    A field is ``*`` or a list of numbers, names (``mon``, ``jan``) and ranges, each
    with a step if wanted; 0 and 7 are Sunday. CronError for anything else.
    """
    fields = line.lower().split()
    if len(fields) != 5:
        raise CronError(
            f"has {len(fields)} fields: write five, minute hour day month weekday, "
            'such as "30 9 * * mon-fri"'
        )
    minutes = _numbers("minute", fields[0], 0, 59)
    hours = _numbers("hour", fields[1], 0, 23)
    weekdays = _numbers("weekday", fields[4], 0, 7, _WEEKDAYS)
    return Cron(
        times=tuple(time(h, m) for h in sorted(hours) for m in sorted(minutes)),
        days=_numbers("day", fields[2], 1, 31),
        months=_numbers("month", fields[3], 1, 12, _MONTHS),
        weekdays=frozenset(number % 7 for number in weekdays),
        any_day=not (fields[2].startswith("*") or fields[4].startswith("*")),
    )


def next_after(cron: Cron, zone: tzinfo, after: datetime) -> datetime | None:
    """The first occurrence later than an aware instant, in UTC.

    None when none comes within HORIZON_DAYS: there is no 30th of February.
    """
    # What the clock has shown has come: only what it shows now or later is looked at.
    # In the hour that it shows again those have come too, and are passed over.
    start = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
    for local in _matches(cron, start):
        try:
            instant = first_instant(local, zone)
        except OverflowError:  # at the end of the year 9999
            return None
        if instant > after:
            return instant
    return None


def first_instant(local: datetime, zone: tzinfo) -> datetime:
    """When the clock of a zone first shows or passes a naive local time, in UTC."""
    early = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if early.astimezone(zone).replace(tzinfo=None) == local:
        return early
    # The clock jumped over it. Read with the offset of before the jump it gives an
    # instant after the jump, read with the one of after it an instant before.
    late, early = early, local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        seconds = int((late - early).total_seconds()) // 2
        middle = early + timedelta(seconds=seconds)
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late


def _matches(cron: Cron, start: datetime) -> Iterator[datetime]:
    """The local minutes that match, from ``start`` on."""
    day = start.date()
    try:
        last = day + timedelta(days=HORIZON_DAYS)
    except OverflowError:
        last = date.max
    while day < last:
        if day.month not in cron.months:
            day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
            continue
        if cron.is_on(day):
            for at in cron.times:
                local = datetime.combine(day, at)
                if local >= start:
                    yield local
        day += _DAY


def _numbers(
    name: str, text: str, least: int, most: int, names: Mapping[str, int] | None = None
) -> frozenset[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        match = _ITEM.fullmatch(part)
        if match is None:
            raise CronError(f"{name}: {part!r} is not *, a number, a range or a step")
        step = int(match["step"] or 1)
        if match["first"] == "*":
            if match["last"] is not None:
                raise CronError(f"{name}: {part!r} is not a range")
            # 7 is a second name of Sunday and no day of its own.
            first, last = least, most - (name == "weekday")
        else:
            first = _number(name, match["first"], least, most, names or {})
            if match["last"] is not None:
                last = _number(name, match["last"], least, most, names or {})
            else:
                last = most if match["step"] else first
        if first > last:
            raise CronError(f"{name}: {part!r} runs backwards: write it in two parts")
        if not 1 <= step <= most:
            raise CronError(f"{name}: the step of {part!r} must be 1 to {most}")
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _number(
    name: str, text: str, least: int, most: int, names: Mapping[str, int]
) -> int:
    number = int(text) if text.isascii() and text.isdigit() else names.get(text, -1)
    if not least <= number <= most:
        raise CronError(f"{name}: {text!r} is not within {least} to {most}")
    return number
