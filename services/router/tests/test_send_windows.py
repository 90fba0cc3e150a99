from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.api.event.v1.work_pb2 import IntakeItem
from clarion.api.recipients.v1.recipient_pb2 import QuietHours
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.router.v1.notification_pb2 import SendWindow as Message
from clarion.api.router.v1.notification_service_pb2 import (
    ExplainNotificationRequest,
    SendNotificationRequest,
)
from clarion.api.router.v1.notification_type_service_pb2 import NotificationType
from clarion.router.deciding import decide
from clarion.router.notification_types import IGNORE, SKIP, TypePolicy
from clarion.router.plan import Plan
from clarion.router.quiet_hours import is_quiet
from clarion.router.registry.definitions import completed, objections, policy_of
from clarion.router.rules import rules_of
from clarion.router.send_windows import SendWindow, first_chance, opening, window_of
from clarion.runtime.testing import refused

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri")
OFFICE = Message(start="09:00", end="18:00", days=WEEKDAYS)
NIGHT = Message(start="22:00", end="02:00", days=["sun"])
SUNDAY = Message(start="00:00", end="00:00", days=["sun"])
GAP = Message(start="02:10", end="02:50")


def opened(message: Message, zone: str, now: datetime) -> str:
    found = opening(window_of(message), zone, now.replace(tzinfo=UTC))
    return found.strftime("%d %H:%M:%S.%f").removesuffix(".000000") if found else ""


# 2026-11-22 is a Sunday.
@pytest.mark.parametrize(
    ("message", "zone", "now", "expected"),
    [
        (OFFICE, "UTC", datetime(2026, 11, 22, 12), "23 09:00:00"),
        (OFFICE, "UTC", datetime(2026, 11, 23, 8, 59, 59), "23 09:00:00"),
        (OFFICE, "UTC", datetime(2026, 11, 23, 9), "23 09:00:00"),
        (OFFICE, "UTC", datetime(2026, 11, 23, 17, 59, 59, 5), "23 17:59:59.000005"),
        (OFFICE, "UTC", datetime(2026, 11, 23, 18), "24 09:00:00"),
        (OFFICE, "UTC", datetime(2026, 11, 27, 18), "30 09:00:00"),
        (OFFICE, "Asia/Kathmandu", datetime(2026, 11, 23), "23 03:15:00"),
        (OFFICE, "", datetime(2026, 11, 22, 12), "23 09:00:00"),
        (OFFICE, "Mars/Olympus", datetime(2026, 11, 22, 12), "23 09:00:00"),
        # Over midnight it belongs to the day of its start.
        (NIGHT, "UTC", datetime(2026, 11, 23, 1, 59), "23 01:59:00"),
        (NIGHT, "UTC", datetime(2026, 11, 23, 2), "29 22:00:00"),
        (NIGHT, "UTC", datetime(2026, 11, 22, 1), "22 22:00:00"),
        # A start that is the end: the whole day.
        (SUNDAY, "UTC", datetime(2026, 11, 22, 23, 59), "22 23:59:00"),
        (SUNDAY, "UTC", datetime(2026, 11, 23), "29 00:00:00"),
        # Berlin, spring: 02:00 is 03:00, and the window of the day does not come.
        (GAP, "Europe/Berlin", datetime(2026, 3, 29, 0), "30 00:10:00"),
        (
            Message(start="02:10", end="02:50", days=["sun"]),
            "Europe/Berlin",
            datetime(2026, 3, 28),
            "05 00:10:00",
        ),
        # A start that the change skips: from the change on.
        (
            Message(start="02:30", end="04:00"),
            "Europe/Berlin",
            datetime(2026, 3, 29, 0),
            "29 01:00:00",
        ),
        # Berlin, autumn: 02:10 comes twice, and so does the window.
        (GAP, "Europe/Berlin", datetime(2026, 10, 24, 23), "25 00:10:00"),
        (GAP, "Europe/Berlin", datetime(2026, 10, 25, 0, 50), "25 01:10:00"),
        (GAP, "Europe/Berlin", datetime(2026, 10, 25, 1, 50), "26 01:10:00"),
        # Samoa had no 2011-12-30, a Friday.
        (
            Message(start="09:00", end="10:00", days=["fri"]),
            "Pacific/Apia",
            datetime(2011, 12, 30),
            "05 19:00:00",
        ),
        # Its own zone wins.
        (
            Message(start="09:00", end="18:00", timezone="Asia/Tokyo"),
            "UTC",
            datetime(2026, 11, 23, 12),
            "24 00:00:00",
        ),
    ],
)
def test_a_window_opens_where_the_wall_clock_enters_it(
    message: Message, zone: str, now: datetime, expected: str
) -> None:
    assert opened(message, zone, now) == expected


ZONES = sorted(available_timezones() - {"localtime", "posixrules", "Factory"})
INSTANTS = st.datetimes(
    datetime(1990, 1, 1), datetime(2045, 1, 1), timezones=st.just(UTC)
)
clock_times = st.times().map(lambda t: t.replace(second=0, microsecond=0))
windows = st.builds(
    SendWindow,
    clock_times,
    clock_times,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.just(""),
)


def lies_in(window: SendWindow, zone: str, at: datetime) -> bool:
    return window.holds(at.astimezone(ZoneInfo(zone)).replace(tzinfo=None))


def beginnings(window: SendWindow, zone: str, now: datetime) -> Iterator[datetime]:
    """Every instant at which it can open: starts on the wall, and clock changes."""
    info, yield_from = ZoneInfo(zone), now - timedelta(days=2)
    first = yield_from.astimezone(info).date()
    begins = time() if window.start == window.end else window.start
    for days in range(26):
        day = first + timedelta(days=days)
        for fold in (0, 1):
            wall = datetime.combine(day, begins, tzinfo=info).replace(fold=fold)
            yield wall.astimezone(UTC)
        at = datetime.combine(day, time(), tzinfo=UTC)
        end = at + timedelta(days=1)
        if at.astimezone(info).utcoffset() != end.astimezone(info).utcoffset():
            while end - at > timedelta(seconds=1):
                middle = at + timedelta(seconds=(end - at).total_seconds() // 2)
                same = middle.astimezone(info).utcoffset()
                if same == at.astimezone(info).utcoffset():
                    at = middle
                else:
                    end = middle
            yield end


def holds_at(window: SendWindow, zone: str, now: datetime) -> None:
    found = opening(window, zone, now)
    if lies_in(window, zone, now):
        assert found == now
        return
    expected = [
        at
        for at in beginnings(window, zone, now)
        if at > now and lies_in(window, zone, at)
    ]
    assert found == min(expected)


@settings(max_examples=400)
@given(windows, st.sampled_from(ZONES), INSTANTS)
def test_in_every_zone_it_opens_at_the_first_moment_of_the_wall_clock(
    window: SendWindow, zone: str, now: datetime
) -> None:
    holds_at(window, zone, now)


def changes_of(zone: str, year: int) -> Iterator[datetime]:
    at, info = datetime(year, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    while at.year == year:
        later = at + timedelta(hours=12)
        if at.astimezone(info).utcoffset() != later.astimezone(info).utcoffset():
            yield later
        at = later


CHANGES = [(change, zone) for zone in ZONES for change in changes_of(zone, 2026)]


@settings(max_examples=300)
@given(windows, st.data())
def test_around_changes_of_the_clocks_too(window: SendWindow, data: Any) -> None:
    change, zone = data.draw(st.sampled_from(CHANGES))
    now = change + data.draw(st.timedeltas(timedelta(hours=-26), timedelta(hours=4)))
    holds_at(window, zone, now)


@settings(max_examples=200)
@given(windows, clock_times, clock_times, st.sampled_from(ZONES), INSTANTS)
def test_with_quiet_hours_the_chance_is_in_the_window_and_not_quiet(
    window: SendWindow, start: time, end: time, zone: str, now: datetime
) -> None:
    hours = QuietHours(start=f"{start:%H:%M}", end=f"{end:%H:%M}")
    chance = first_chance(window, hours, zone, now)
    free = (
        at
        for at in (now + timedelta(minutes=7) * n for n in range(8 * 24 * 8))
        if lies_in(window, zone, at) and not is_quiet(hours, zone, at)
    )
    known = next(free, None)
    if chance is None:
        assert known is None
        return
    assert chance >= now
    assert lies_in(window, zone, chance)
    assert not is_quiet(hours, zone, chance)
    assert known is None or chance <= known
    before = chance - timedelta(microseconds=1)
    assert chance == now or (
        is_quiet(hours, zone, before) or not lies_in(window, zone, before)
    )


SUNDAY_NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MONDAY_NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)


def decided(
    person: RecipientProfile,
    window: Message | None = OFFICE,
    policy: TypePolicy | None = None,
    now: datetime = SUNDAY_NOON,
    **fields: Any,
) -> Plan:
    item = IntakeItem(notification_id="n", tenant_id="demo")
    notification = item.notification
    notification.user_id, notification.type = "ada", "news"
    notification.channels[:] = ["email", "in_app"]
    for name, value in fields.items():
        setattr(notification, name, value)
    if window is not None:
        notification.send_window.CopyFrom(window)
    return decide(item, person, now, policy or TypePolicy(category="news"))


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(channel.outcome, channel.reason) for channel in plan.channels]


def test_outside_of_it_a_channel_that_disturbs_waits_for_its_start(person: Any) -> None:
    plan = decided(person())
    assert told(plan) == [("deferred", "send_window"), ("planned", "")]
    assert plan.channels[0].release_time == MONDAY_NINE
    (rule,) = [
        rule
        for rule in rules_of(plan)
        if rule.rule == "send_window" and rule.channel == "email"
    ]
    assert rule.outcome == "defer"
    assert rule.detail.startswith("09:00 to 18:00 on mon,tue,wed,thu,fri UTC; opens")


def test_inside_of_it_nothing_waits(person: Any) -> None:
    plan = decided(person(), now=MONDAY_NINE)
    assert told(plan) == [("planned", "")] * 2


@pytest.mark.parametrize("fields", [{"priority": "high"}, {}])
@pytest.mark.parametrize("critical", [True, False])
def test_neither_a_high_priority_nor_a_critical_type_passes_the_senders_own_window(
    person: Any, fields: Any, critical: bool
) -> None:
    policy = TypePolicy(category="news", critical=critical)
    assert told(decided(person(), policy=policy, **fields))[0] == (
        "deferred",
        "send_window",
    )


def test_the_notifications_own_window_wins_over_the_types(person: Any) -> None:
    policy = TypePolicy(category="news", send_window=window_of(OFFICE))
    assert told(decided(person(), None, policy))[0] == ("deferred", "send_window")
    assert told(decided(person(), SUNDAY, policy))[0] == ("planned", "")


def test_the_window_is_by_the_persons_clock(person: Any) -> None:
    ada = person()
    ada.recipient.time_zone = "Asia/Tokyo"
    plan = decided(ada)
    assert plan.channels[0].release_time == MONDAY_NINE - timedelta(hours=9)


@pytest.mark.parametrize(
    ("quiet", "policy", "now", "expected"),
    [
        (("08:00", "10:00"), "defer", SUNDAY_NOON, ("deferred", "send_window", 10)),
        (("08:00", "10:00"), IGNORE, SUNDAY_NOON, ("deferred", "send_window", 9)),
        (("08:00", "10:00"), SKIP, SUNDAY_NOON, ("deferred", "send_window", 9)),
        (("11:00", "13:00"), "defer", SUNDAY_NOON, ("deferred", "quiet_hours", 9)),
        (("11:00", "13:00"), SKIP, SUNDAY_NOON, ("skipped", "quiet_hours", None)),
        (("09:00", "11:00"), "defer", MONDAY_NINE, ("deferred", "quiet_hours", 11)),
        (
            ("08:00", "19:00"),
            "defer",
            SUNDAY_NOON,
            ("skipped", "send_window_never_open", None),
        ),
        (
            ("20:00", "19:00"),
            "defer",
            SUNDAY_NOON + timedelta(hours=7),
            ("skipped", "send_window_never_open", None),
        ),
    ],
)
def test_quiet_hours_and_the_window_hold_together(
    person: Any, quiet: tuple[str, str], policy: str, now: datetime, expected: Any
) -> None:
    hours = QuietHours(start=quiet[0], end=quiet[1])
    type_ = TypePolicy(category="news", quiet_hours_policy=policy)
    plan = decided(person(quiet_hours=hours), policy=type_, now=now)
    channel = plan.channels[0]
    hour = channel.release_time.hour if channel.release_time else None
    assert (channel.outcome, channel.reason, hour) == expected


def test_what_expires_before_the_window_opens_is_expired(person: Any) -> None:
    item = IntakeItem(notification_id="n", tenant_id="demo")
    item.notification.channels.append("email")
    item.notification.send_window.CopyFrom(OFFICE)
    expiry = Timestamp()
    expiry.FromDatetime(MONDAY_NINE)
    item.notification.expires_at.CopyFrom(expiry)
    assert told(decide(item, person(), SUNDAY_NOON)) == [("expired", "send_window")]


def test_a_type_keeps_its_window() -> None:
    given = NotificationType(send_window=OFFICE)
    assert policy_of(completed("news", given)).send_window == window_of(OFFICE)
    given.send_window.timezone = "Mars/Olympus"
    (wrong,) = objections("news", given, ["push"])
    assert wrong.field == "notification_type.send_window.timezone"


@pytest.mark.parametrize(
    ("window", "field"),
    [
        (Message(start="9:00", end="18:00"), "start"),
        (Message(start="09:00", end="24:00"), "end"),
        (Message(start="09:00"), "end"),
        (Message(start="09:00", end="18:00", days=["Mon"]), "days[0]"),
        (Message(start="09:00", end="18:00", days=["mon", "mon"]), "days"),
        (Message(start="09:00", end="18:00", timezone="Berlin"), "timezone"),
    ],
)
async def test_a_window_that_cannot_be_is_refused_by_its_field(
    router: Any, notify: Any, window: Message, field: str
) -> None:
    request = SendNotificationRequest(notification=notify(send_window=window))
    with refused() as refusal:
        await router.stub.SendNotification(request)
    assert list(refusal.fields) == [f"notification.send_window.{field}"]


async def test_a_closed_window_defers_on_the_wire_and_explain_says_so(
    router: Any, notify: Any
) -> None:
    now = datetime.now(UTC)
    opens = now + timedelta(hours=2)
    window = Message(
        start=f"{opens:%H:%M}",
        end=f"{opens + timedelta(hours=1):%H:%M}",
        timezone="UTC",
    )
    notification = notify(channels=["email", "in_app"], send_window=window)
    explained = await router.stub.ExplainNotification(
        ExplainNotificationRequest(notification=notification)
    )
    await router.stub.SendNotification(
        SendNotificationRequest(notification=notification)
    )
    events = await router.until(router.events, 2, 5)
    (decision,) = [
        event.decided.decision for event in events if event.HasField("decided")
    ]
    for trace in (explained.decision, decision):
        assert [channel.outcome for channel in trace.channels] == [
            "deferred",
            "planned",
        ]
        release = trace.channels[0].release_time.ToDatetime(UTC)
        assert release == opens.replace(second=0, microsecond=0)
