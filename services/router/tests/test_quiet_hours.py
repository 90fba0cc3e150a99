from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.router.quiet_hours import is_quiet

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
