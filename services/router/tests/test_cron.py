from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from clarion.router.schedules.cron import CronError, first_instant, next_after, parse

ZONES = sorted(available_timezones() - {"localtime", "posixrules", "Factory"})
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(line: str, zone: tzinfo, after: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    for _ in range(count):
        coming = next_after(parse(line), zone, found[-1] if found else after)
        if coming is None:
            break
        found.append(coming)
    return found


def walked(line: str, zone: tzinfo, start: datetime, end: datetime) -> list[datetime]:
    """The slow way: a walk over every minute that a clock shows or jumps over.

    It keeps the latest time that the clock has shown, so a repeated hour is not new.
    """
    cron = parse(line)
    found: list[datetime] = []
    instant = start - timedelta(days=2)
    shown = instant.astimezone(zone).replace(tzinfo=None)
    while instant < end:
        instant += MINUTE
        local = instant.astimezone(zone).replace(tzinfo=None)
        is_new = False
        while shown < local:
            shown += MINUTE
            is_new = cron.is_at(shown) or is_new
        if is_new and instant > start:
            found.append(instant)
    return [instant for instant in found if instant <= end]


def between(line: str, zone: tzinfo, start: datetime, end: datetime) -> list[datetime]:
    def forward() -> Iterator[datetime]:
        after = start
        while (coming := next_after(parse(line), zone, after)) is not None:
            if coming > end:
                return
            yield coming
            after = coming

    return list(forward())


@pytest.mark.parametrize(
    ("line", "after", "expected"),
    [
        ("* * * * *", "2026-11-22T10:00:00", "2026-11-22T10:01:00"),
        ("* * * * *", "2026-11-22T10:00:59.999", "2026-11-22T10:01:00"),
        ("0 9 * * *", "2026-11-22T09:00:00", "2026-11-23T09:00:00"),
        ("0 9 * * *", "2026-11-22T08:59:59", "2026-11-22T09:00:00"),
        ("*/15 9-17 * * MON-FRI", "2026-11-20T17:45:00", "2026-11-23T09:00:00"),
        ("30 8 1 */3 *", "2026-11-22T00:00:00", "2027-01-01T08:30:00"),
        ("5/20 0 * * *", "2026-11-22T00:05:00", "2026-11-22T00:25:00"),
        ("0 0 * jan,Jul 7", "2026-11-22T00:00:00", "2027-01-03T00:00:00"),
        ("0 0 * * sun", "2026-11-22T00:00:00", "2026-11-29T00:00:00"),
        ("0 0 * * 5-7", "2026-11-21T00:00:00", "2026-11-22T00:00:00"),
        # Neither begins with a star: the 13th or a Friday ...
        ("0 0 13 * fri", "2026-11-21T00:00:00", "2026-11-27T00:00:00"),
        # ... and with one: a Sunday that has an odd number.
        ("0 0 */2 * sun", "2026-11-22T00:00:00", "2026-11-29T00:00:00"),
        ("0 0 29 2 *", "2026-11-22T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 0 29 2 */7", "2088-03-01T00:00:00", "2128-02-29T00:00:00"),
        ("0 0 31 * *", "2026-11-22T00:00:00", "2026-12-31T00:00:00"),
    ],
)
def test_the_next_occurrence_in_utc(line: str, after: str, expected: str) -> None:
    assert next_after(parse(line), UTC, utc(after)) == utc(expected)


def test_what_can_never_be_never_comes() -> None:
    assert next_after(parse("0 0 30 2 *"), UTC, utc("2026-11-22T00:00:00")) is None
    assert next_after(parse("0 0 * * *"), UTC, utc("9999-12-31T10:00:00")) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * tue-",
        "5-1 * * * *",
        "*/0 * * * *",
        "*-5 * * * *",
        "-1 * * * *",
        ",1 * * * *",
        "1,,2 * * * *",
        "mon * * * *",
        "² * * * *",
        "@daily",
        "* * * * 1#2",
    ],
)
def test_a_line_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(CronError):
        parse(line)


def test_a_job_of_0230_comes_once_when_the_clock_is_set_forward() -> None:
    found = following("30 2 * * *", BERLIN, utc("2027-03-26T12:00:00"), 3)
    assert found == [
        utc("2027-03-27T01:30:00"),
        utc("2027-03-28T01:00:00"),  # 03:00, the first instant after the gap
        utc("2027-03-29T00:30:00"),
    ]


def test_a_job_of_0230_comes_once_when_the_clock_is_set_back() -> None:
    found = following("30 2 * * *", BERLIN, utc("2027-10-29T12:00:00"), 3)
    assert found == [
        utc("2027-10-30T00:30:00"),
        utc("2027-10-31T00:30:00"),  # the first 02:30 of two
        utc("2027-11-01T01:30:00"),
    ]


def test_all_that_lies_in_a_gap_comes_together_after_it() -> None:
    found = following("*/20 2,3 * * *", BERLIN, utc("2027-03-27T12:00:00"), 3)
    assert found == [
        utc("2027-03-28T01:00:00"),
        utc("2027-03-28T01:20:00"),
        utc("2027-03-28T01:40:00"),
    ]


def test_a_day_that_a_zone_left_out_is_made_up_for() -> None:
    # Samoa had no 30 December 2011.
    found = following("0 9 * * *", ZoneInfo("Pacific/Apia"), utc("2011-12-29T00:00"), 3)
    assert found == [
        utc("2011-12-29T19:00:00"),
        utc("2011-12-30T10:00:00"),  # the first instant of the 31st
        utc("2011-12-30T19:00:00"),
    ]


def test_what_is_asked_in_the_repeated_hour_has_come() -> None:
    second = utc("2027-10-31T01:10:00")  # 02:10 for the second time
    assert next_after(parse("30 2 * * *"), BERLIN, second) == utc("2027-11-01T01:30:00")
    assert next_after(parse("* * * * *"), BERLIN, second) == utc("2027-10-31T02:00:00")


def transitions(zone: tzinfo, first: int = 1973, last: int = 2037) -> list[datetime]:
    """The instants from which on a zone's offset is another one."""
    found: list[datetime] = []
    step = timedelta(days=7)
    instant, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 1, 1, tzinfo=UTC)
    while instant < end:
        early, late = instant, instant + step
        instant = late
        offset = early.astimezone(zone).utcoffset()
        if late.astimezone(zone).utcoffset() == offset:
            continue
        while late - early > timedelta(seconds=1):
            middle = early + timedelta(seconds=(late - early).total_seconds() // 2)
            same = middle.astimezone(zone).utcoffset() == offset
            early, late = (middle, late) if same else (early, middle)
        found.append(late)
    return found


def test_a_job_of_each_day_comes_once_around_changes_of_every_zone() -> None:
    kinds: dict[object, tuple[ZoneInfo, datetime]] = {}
    for zone in map(ZoneInfo, ZONES):
        for change in transitions(zone, 2026, 2028):
            before = (change - MINUTE).astimezone(zone).utcoffset()
            kind = (change.month, before, change.astimezone(zone).utcoffset())
            kinds.setdefault(kind, (zone, change))
    assert len(kinds) > 30
    for zone, change in kinds.values():
        start, end = change - timedelta(days=1.5), change + timedelta(days=1.5)
        for line in ("30 2 * * *", "0 0 * * *", "59 23 * * *", "30 1 * * *"):
            found = between(line, zone, start, end)
            assert found == walked(line, zone, start, end), (zone, change, line)


def field_of(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda p: f"{min(p)}-{max(p)}")
    single = st.one_of(number.map(str), span)
    steps = st.integers(2, min(most, 15)).map(lambda n: f"*/{n}")
    lists = st.lists(single, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.just("*"), steps, lists)


LINES = st.tuples(
    field_of(0, 59),
    field_of(0, 23),
    field_of(1, 31),
    st.one_of(st.just("*"), field_of(1, 12)),
    field_of(0, 7),
).map(" ".join)
FREQUENT = st.tuples(field_of(0, 59), field_of(0, 23)).map(
    lambda f: f"{f[0]} {f[1]} * * *"
)
INSTANTS = st.datetimes(datetime(1973, 1, 1), datetime(2060, 1, 1)).map(
    lambda naive: naive.replace(tzinfo=UTC)
)


@settings(max_examples=300, deadline=None)
@given(line=LINES, name=st.sampled_from(ZONES), after=INSTANTS)
def test_occurrences_rise_and_no_local_time_comes_twice(
    line: str, name: str, after: datetime
) -> None:
    zone = ZoneInfo(name)
    found = following(line, zone, after, 60)
    assert all(early < late for early, late in pairwise([after, *found]))
    shown = [instant.astimezone(zone).replace(tzinfo=None) for instant in found]
    assert all(early < late for early, late in pairwise(shown))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), line=st.one_of(FREQUENT, LINES), name=st.sampled_from(ZONES))
def test_around_a_change_of_the_clock_none_is_missed(
    data: st.DataObject, line: str, name: str
) -> None:
    zone = ZoneInfo(name)
    changes = transitions(zone)
    assume(changes)
    change = data.draw(st.sampled_from(changes))
    start = change - data.draw(st.timedeltas(timedelta(0), timedelta(days=1)))
    start = start.replace(second=0, microsecond=0)
    end = start + timedelta(days=2)
    assert between(line, zone, start, end) == walked(line, zone, start, end)


@settings(max_examples=40, deadline=None)
@given(line=LINES, name=st.sampled_from(ZONES), start=INSTANTS)
@example(line="* * * * *", name="Europe/Berlin", start=utc("2027-10-31T00:00:00"))
def test_anywhere_none_is_missed(line: str, name: str, start: datetime) -> None:
    zone = ZoneInfo(name)
    start = start.replace(second=0, microsecond=0)
    end = start + timedelta(days=3)
    assert between(line, zone, start, end) == walked(line, zone, start, end)


@given(name=st.sampled_from(ZONES), instant=INSTANTS)
def test_a_time_that_a_clock_shows_is_first_shown_then_or_before(
    name: str, instant: datetime
) -> None:
    zone = ZoneInfo(name)
    local = instant.astimezone(zone).replace(tzinfo=None)
    first = first_instant(local, zone)
    assert first <= instant
    assert first.astimezone(zone).replace(tzinfo=None) == local
