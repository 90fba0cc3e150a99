from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.router.quiet_hours import is_quiet, quiet_until

NIGHT = ("22:00", "08:00")
CASES = (
    (NIGHT, "21:59", False),
    (NIGHT, "22:00", True),
    (NIGHT, "00:00", True),
    (NIGHT, "07:59", True),
    (NIGHT, "08:00", False),
    (("12:00", "13:30"), "11:59", False),
    (("12:00", "13:30"), "12:00", True),
    (("12:00", "13:30"), "13:29", True),
    (("12:00", "13:30"), "13:30", False),
    (("09:00", "09:00"), "08:59", True),
    (("09:00", "09:00"), "09:00", True),
    (("", ""), "00:00", False),
)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(f"2026-11-22T{text}").replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(("span", "clock_time", "quiet"), CASES)
def test_a_span_holds_its_start_and_not_its_end(
    span: tuple[str, str], clock_time: str, quiet: bool
) -> None:
    assert is_quiet(QuietHours(start=span[0], end=span[1]), "", at(clock_time)) is quiet


def test_the_spans_own_zone_wins_over_the_persons() -> None:
    hours = QuietHours(start="22:00", end="08:00", timezone="America/New_York")
    assert is_quiet(hours, "Asia/Tokyo", at("23:00", "America/New_York"))
    hours.timezone = ""
    assert not is_quiet(hours, "Asia/Tokyo", at("12:00", "Asia/Tokyo"))
    assert is_quiet(hours, "Asia/Tokyo", at("23:00", "Asia/Tokyo"))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "Europe", "a\x00"])
def test_a_zone_that_this_host_does_not_know_is_utc(zone: str) -> None:
    hours = QuietHours(start="22:00", end="08:00", timezone=zone)
    assert is_quiet(hours, "", at("23:00"))
    assert not is_quiet(hours, "", at("12:00"))


def test_the_hour_that_a_clock_change_skips_or_repeats_counts_by_the_wall_clock() -> (
    None
):
    hours = QuietHours(start="02:00", end="03:00", timezone="Europe/Berlin")
    spring = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)  # 01:59, the next is 03:00
    assert not is_quiet(hours, "", spring)
    assert not is_quiet(hours, "", spring + timedelta(minutes=1))
    autumn = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30, and again an hour on
    assert is_quiet(hours, "", autumn)
    assert is_quiet(hours, "", autumn + timedelta(hours=1))
    assert not is_quiet(hours, "", autumn + timedelta(hours=2))


@pytest.mark.parametrize("day", [datetime(2026, 3, 29), datetime(2026, 10, 25)])
def test_every_zone_of_the_database_agrees_with_its_wall_clock(day: datetime) -> None:
    for zone in available_timezones():
        hours = QuietHours(start="22:00", end="08:00", timezone=zone)
        for hour in range(24):
            now = day.replace(tzinfo=UTC) + timedelta(hours=hour)
            local = now.astimezone(ZoneInfo(zone))
            assert is_quiet(hours, "", now) is (local.hour >= 22 or local.hour < 8)


clock_times = st.times().map(lambda t: t.strftime("%H:%M"))


@given(clock_times, clock_times, st.datetimes(timezones=st.just(UTC)))
def test_a_span_and_its_complement_share_no_moment(
    start: str, end: str, now: datetime
) -> None:
    span = is_quiet(QuietHours(start=start, end=end), "", now)
    rest = is_quiet(QuietHours(start=end, end=start), "", now)
    assert (span, rest) == (True, True) if start == end else span is not rest


def released(start: str, end: str, zone: str, now: datetime) -> str:
    hours = QuietHours(start=start, end=end, timezone=zone)
    until = quiet_until(hours, "", now.replace(tzinfo=UTC))
    return until.strftime("%d %H:%M:%S") if until else ""


@pytest.mark.parametrize(
    ("span", "zone", "now", "expected"),
    [
        (NIGHT, "UTC", datetime(2026, 11, 22, 12), ""),
        (NIGHT, "UTC", datetime(2026, 11, 22, 8), ""),
        (NIGHT, "UTC", datetime(2026, 11, 22, 22), "23 08:00:00"),
        (NIGHT, "UTC", datetime(2026, 11, 22, 23, 59, 59, 999_999), "23 08:00:00"),
        (NIGHT, "UTC", datetime(2026, 11, 23), "23 08:00:00"),
        (NIGHT, "UTC", datetime(2026, 11, 23, 7, 59, 59, 999_999), "23 08:00:00"),
        (NIGHT, "Asia/Kathmandu", datetime(2026, 11, 22, 18), "23 02:15:00"),
        (("12:00", "13:30"), "UTC", datetime(2026, 11, 22, 13), "22 13:30:00"),
        # Berlin, spring: 02:00 is 03:00. The night is an hour shorter.
        (NIGHT, "Europe/Berlin", datetime(2026, 3, 28, 22), "29 06:00:00"),
        # An end that the change skips is at the change.
        (("22:00", "02:30"), "Europe/Berlin", datetime(2026, 3, 28, 22), "29 01:00:00"),
        # A start that the change skips: the span begins late.
        (("02:30", "04:00"), "Europe/Berlin", datetime(2026, 3, 29, 1), "29 02:00:00"),
        # Berlin, autumn: 03:00 is 02:00. The night is an hour longer.
        (NIGHT, "Europe/Berlin", datetime(2026, 10, 24, 21), "25 07:00:00"),
        # An end that comes twice: the first one, and again after the second start.
        (
            ("22:00", "02:30"),
            "Europe/Berlin",
            datetime(2026, 10, 24, 21),
            "25 00:30:00",
        ),
        (("22:00", "02:30"), "Europe/Berlin", datetime(2026, 10, 25, 1), "25 01:30:00"),
        # A span in the repeated hour ends, begins again and ends.
        (
            ("02:15", "02:45"),
            "Europe/Berlin",
            datetime(2026, 10, 25, 0, 20),
            "25 00:45:00",
        ),
        # One that the repeated hour prolongs.
        (("01:00", "03:00"), "Europe/Berlin", datetime(2026, 10, 25), "25 02:00:00"),
        # A whole day never ends.
        (("09:00", "09:00"), "UTC", datetime(2026, 11, 22), ""),
        (("", ""), "UTC", datetime(2026, 11, 22), ""),
    ],
)
def test_a_span_ends_where_the_wall_clock_leaves_it(
    span: tuple[str, str], zone: str, now: datetime, expected: str
) -> None:
    assert released(*span, zone, now) == expected


ZONES = sorted(available_timezones())
INSTANTS = st.datetimes(
    datetime(1990, 1, 1), datetime(2045, 1, 1), timezones=st.just(UTC)
)


def holds_at(hours: QuietHours, now: datetime) -> None:
    until = quiet_until(hours, "", now)
    if hours.start == hours.end or not is_quiet(hours, "", now):
        assert until is None
    else:
        assert until is not None
        # A day, one more where the clocks skip the end; Casey once went back 3 hours.
        assert now < until <= now + timedelta(hours=51)
        assert not is_quiet(hours, "", until)
        assert is_quiet(hours, "", until - timedelta(microseconds=1))
        # Nothing in between that is not quiet.
        step = (until - now) / 97
        assert all(is_quiet(hours, "", now + step * n) for n in range(97))


@settings(max_examples=400)
@given(clock_times, clock_times, st.sampled_from(ZONES), INSTANTS)
def test_in_every_zone_the_end_is_the_first_moment_that_is_not_quiet(
    start: str, end: str, zone: str, now: datetime
) -> None:
    holds_at(QuietHours(start=start, end=end, timezone=zone), now)


@given(clock_times, clock_times, st.data())
def test_around_changes_of_the_clocks_too(start: str, end: str, data: Any) -> None:
    change, zone = data.draw(st.sampled_from(CHANGES))
    now = change + data.draw(st.timedeltas(timedelta(hours=-26), timedelta(hours=4)))
    holds_at(QuietHours(start=start, end=end, timezone=zone), now)


def changes_of(zone: str, year: int) -> Iterator[datetime]:
    at, info = datetime(year, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    while at.year == year:
        later = at + timedelta(hours=12)
        if at.astimezone(info).utcoffset() != later.astimezone(info).utcoffset():
            yield later
        at = later


CHANGES = [(change, zone) for zone in ZONES for change in changes_of(zone, 2026)]
