from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1.notification_event_pb2 import NotificationEvent
from clarion.api.event.v1.work_pb2 import Content, DeliveryJob, IntakeItem, Target
from clarion.api.ratelimit.v1.rate_limit_service_pb2 import AcquireItem, FrequencyLimit
from clarion.api.recipients.v1.recipient_service_pb2 import RecipientProfile
from clarion.api.router.v1.notification_pb2 import Notification
from clarion.api.templating.v1.template_service_pb2 import RenderItem, RenderResult
from clarion.router.deciding import decide
from clarion.router.deliveries import render_items_for, write_down
from clarion.router.notification_types import TypePolicy
from clarion.router.permits import permit_for
from clarion.router.plan import Plan
from clarion.router.render_item import render_item
from clarion.runtime.ids import delivery_id, event_id
from clarion.runtime.testing import FakeClock

NOW = FakeClock().now()
STAMP = Timestamp(seconds=int(NOW.timestamp()))


def render_items(plan: Plan) -> list[RenderItem]:
    return [RenderItem.FromString(item) for item in render_items_for(plan)]


def permit_of(plan: Plan) -> AcquireItem:
    return AcquireItem.FromString(permit_for(plan))


def rendered(item: IntakeItem, *channels: str, code: int = 0) -> dict[Any, Any]:
    content = Content(title="T", body="B", template_id="default", template_version=7)
    return {
        (item.notification_id, channel): RenderResult(content=content)
        if not code
        else RenderResult(error={"code": code})
        for channel in channels
    }


def written(item: IntakeItem, profile: Any, *channels: str, code: int = 0) -> Any:
    plan = decide(item, profile, NOW)
    found = rendered(item, *channels, code=code)
    jobs, (_, event) = write_down(plan, found, "trace", STAMP.SerializeToString())
    return [
        DeliveryJob.FromString(job.body) for job in jobs
    ], NotificationEvent.FromString(event)


def test_every_target_gets_a_job_with_an_id_of_its_own(
    make_item: Any, person: Any
) -> None:
    item = make_item(channels=["push", "email"], priority="high")
    jobs, _ = written(item, person(), "push", "email")
    assert [(job.channel, job.target.address) for job in jobs] == [
        ("push", "token-1"),
        ("push", "token-2"),
        ("email", "ada@example.com"),
    ]
    assert [job.delivery_id for job in jobs] == [
        delivery_id(item.notification_id, job.channel, job.target.address)
        for job in jobs
    ]


def test_a_job_says_all_that_a_channel_needs(make_item: Any, person: Any) -> None:
    expiry = NOW + timedelta(hours=1)
    item = make_item(
        channels=["email"], collapse_key="c", expires_at=expiry, data={"n": 20}
    )
    ((job,), _) = written(item, person(), "email")
    assert job == DeliveryJob(
        delivery_id=job.delivery_id,
        notification_id=item.notification_id,
        tenant_id="demo",
        user_id="ada",
        channel="email",
        priority="medium",
        target=Target(address="ada@example.com", display_name="Ada"),
        content=Content(
            title="T",
            body="B",
            data=item.notification.data,
            template_id="default",
            template_version=7,
        ),
        attempt=1,
        accepted_time=item.accepted_time,
        expires_time=item.notification.expires_at,
        trace_parent="trace",
        type="comment",
        category="comment",
        collapse_key="c",
    )


def test_the_same_notification_is_written_down_the_same_again(
    make_item: Any, person: Any
) -> None:
    item = make_item(channels=["push", "in_app"], data={"a": 1})
    assert written(item, person(), "push", "in_app") == written(
        item, person(), "push", "in_app"
    )


def test_each_release_has_a_decision_of_its_own_and_the_same_deliveries(
    make_item: Any, person: Any
) -> None:
    item = make_item(channels=["push"])
    jobs, event = written(item, person(), "push")
    item.release = 1
    later_jobs, later = written(item, person(), "push")
    assert jobs == later_jobs
    assert event.event_id != later.event_id
    assert later.event_id == event_id(item.notification_id, "decided", "1")


def test_the_decision_pins_what_it_was_made_of(make_item: Any, person: Any) -> None:
    item = make_item(channels=["sms", "push", "email"])
    profile = person(sms_enabled=False, version=9)
    jobs, event = written(item, profile, "push", "email")
    decision = event.decided.decision
    assert event.decided.notification == item.notification
    assert event.decided.accepted_time == item.accepted_time
    assert (event.decided.key_id, decision.preferences_version) == ("key-1", 9)
    assert decision.decided_time == STAMP
    assert [(c.channel, c.outcome, c.reason) for c in decision.channels] == [
        ("sms", "skipped", "channel_disabled"),
        ("push", "planned", ""),
        ("email", "planned", ""),
    ]
    assert [c.template_version for c in decision.channels] == [0, 7, 7]
    told = [d.delivery_id for c in decision.channels for d in c.deliveries]
    assert told == [job.delivery_id for job in jobs]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (code_pb2.NOT_FOUND, "template_not_found"),
        (code_pb2.INVALID_ARGUMENT, "template_invalid"),
        (code_pb2.INTERNAL, "render_failed"),
    ],
)
def test_what_cannot_be_rendered_is_decided_as_failed(
    code: int, reason: str, make_item: Any, person: Any
) -> None:
    item = make_item(channels=["push"])
    jobs, event = written(item, person(), "push", code=code)
    (channel,) = event.decided.decision.channels
    assert not jobs
    assert (channel.outcome, channel.reason) == ("failed", reason)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=8)
    # A number that has no fraction is an integer to a reader of JSON.
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(data=st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_data_arrives_as_it_was_given(
    data: dict[str, Any], notify: Any, person: Any
) -> None:
    item = IntakeItem(
        notification_id="n", notification=notify(channels=["email"], data=data)
    )
    ((job,), event) = written(item, person(), "email")
    assert job.content.data == item.notification.data
    assert event.decided.notification.data == item.notification.data
    plan = decide(item, person(), NOW)
    assert render_items(plan)[0].data == item.notification.data


@pytest.mark.parametrize(
    ("asked", "type_wide", "by_channel", "expected"),
    [
        ("", "", {}, {"": ["push", "email", "sms"]}),
        ("own", "", {}, {"own": ["push", "email", "sms"]}),
        ("", "wide", {}, {"wide": ["push", "email", "sms"]}),
        ("own", "wide", {"email": "rich"}, {"own": ["push", "email", "sms"]}),
        ("", "wide", {"email": "rich"}, {"wide": ["push", "sms"], "rich": ["email"]}),
        ("", "", {"sms": "short"}, {"": ["push", "email"], "short": ["sms"]}),
        ("", "wide", {"in_app": "no"}, {"wide": ["push", "email", "sms"]}),
    ],
)
def test_the_notifications_template_wins_over_the_channels_over_the_types(
    asked: str,
    type_wide: str,
    by_channel: dict[str, str],
    expected: dict[str, list[str]],
    make_item: Any,
    person: Any,
) -> None:
    policy = TypePolicy("c", template_id=type_wide, channel_templates=by_channel)
    item = make_item(channels=["push", "email", "sms"], template_id=asked)
    plan = decide(item, person(), NOW, policy)
    found = {one.template_id: list(one.channels) for one in render_items(plan)}
    assert found == expected


def test_numbers_in_data_keep_their_kind(make_item: Any, person: Any) -> None:
    item = make_item(channels=["email"], data={"items": 20, "amount": 99.99})
    ((job,), _) = written(item, person(), "email")
    assert dict(job.content.data) == {"items": 20.0, "amount": 99.99}
    assert job.content.data["items"].is_integer()


def test_templates_see_the_person_and_not_what_the_person_calls_itself(
    make_item: Any, person: Any
) -> None:
    profile = person()
    profile.recipient.attributes.update({"city": "Berlin", "user_id": "somebody else"})
    plan = decide(make_item(), profile, NOW)
    assert dict(render_items(plan)[0].recipient) == {
        "city": "Berlin",
        "user_id": "ada",
        "display_name": "Ada",
    }


@pytest.mark.parametrize(("asked", "used"), [("fr", "fr"), ("", "de")])
def test_the_notifications_language_wins_over_the_persons(
    asked: str, used: str, make_item: Any, person: Any
) -> None:
    plan = decide(make_item(locale=asked), person(), NOW)
    assert render_items(plan)[0].locale == used


def test_a_permit_is_one_a_notification_with_the_persons_own_limit(
    make_item: Any, person: Any
) -> None:
    limits = {"promotional": FrequencyLimit(daily=3)}
    item = make_item(type="newsletter")
    permit = permit_of(decide(item, person(frequency_limits=limits), NOW))
    assert permit.request_id == item.notification_id
    assert (permit.user_id, permit.category) == ("ada", "promotional")
    assert permit.personal_limit == FrequencyLimit(daily=3)
    other = permit_of(decide(make_item(), person(frequency_limits=limits), NOW))
    assert not other.HasField("personal_limit")


@given(
    user_id=st.text(max_size=150),
    name=st.text(max_size=150),
    texts=st.tuples(*[st.text(max_size=20)] * 6),
    version=st.integers(0, 2**32 - 1),
    attributes=st.none() | st.dictionaries(st.text(max_size=8), json_values),
    data=st.none() | st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)
def test_an_item_of_encoded_fields_says_what_a_message_would(
    user_id: str,
    name: str,
    texts: tuple[str, ...],
    version: int,
    attributes: dict[str, Any] | None,
    data: dict[str, Any] | None,
) -> None:
    type_, title, message, locale, persons_locale, template_id = texts
    notification = Notification(
        user_id=user_id,
        type=type_,
        title=title,
        message=message,
        locale=locale,
        template_version=version,
    )
    profile = RecipientProfile(found=True)
    profile.recipient.display_name = name
    profile.recipient.locale = persons_locale
    expected = RenderItem(
        key="n",
        template_id=template_id,
        template_version=version,
        channels=["push", "sms"],
        locale=locale or persons_locale,
        title=title,
        message=message,
        type=type_,
    )
    if data is not None:
        notification.data.update(data)
        expected.data.update(data)
    if attributes is not None:
        profile.recipient.attributes.update(attributes)
        expected.recipient.update(attributes)
    expected.recipient.update({"user_id": user_id, "display_name": name})
    plan = decide(
        IntakeItem(notification_id="n", notification=notification), profile, NOW
    )
    item = render_item(plan, template_id, ["push", "sms"])
    assert RenderItem.FromString(item) == expected


def test_what_waited_is_rendered_with_what_was_published_when_it_was_accepted(
    make_item: Any, person: Any
) -> None:
    now, scheduled, released = (make_item(channels=["push"]) for _ in range(3))
    scheduled.notification.scheduled_at.FromDatetime(NOW)
    released.release = 1
    plans = [decide(item, person(), NOW) for item in (now, scheduled, released)]
    times = [render_items(plan)[0].published_time for plan in plans]
    assert times == [Timestamp(), scheduled.accepted_time, released.accepted_time]
