"""What the demonstration sends."""

from __future__ import annotations

from collections import Counter

import pytest

from clarion.client.demo.plan import DemoPlan, expected_arrivals


@pytest.mark.parametrize("count", [1, 10, 1000, 20000])
def test_the_stream_has_as_many_notifications_as_asked_for(count):
    assert sum(1 for _ in DemoPlan("run", count).sendings()) == count


def test_seven_of_ten_are_push_two_email_and_one_sms():
    channels = Counter(
        sending.expected[0] for sending in DemoPlan("run", 20000).sendings()
    )

    assert channels["push"] == pytest.approx(14000, rel=0.02)
    assert channels["email"] == pytest.approx(4000, rel=0.05)
    assert channels["sms"] == pytest.approx(2000, rel=0.1)


def test_nobody_of_the_stream_gets_more_than_a_day_allows():
    sent = Counter(
        (sending.notification.user_id, sending.notification.type)
        for sending in DemoPlan("run", 20000).sendings()
    )

    # order_updates allow 50 a day, the fewest of the categories that are sent.
    assert max(sent.values()) < 50


def test_the_stream_spares_those_who_show_wishes_and_limits():
    plan = DemoPlan("run", 500)
    special = {one.notification.user_id for one in (*plan.unwanted(), *plan.floods())}

    assert special.isdisjoint(one.notification.user_id for one in plan.sendings())
    assert special <= {person.user_id for person in plan.persons}


def test_each_channel_of_an_accepted_notification_is_expected_once():
    sending = next(
        one for one in DemoPlan("r", 100).sendings() if len(one.expected) > 1
    )

    expected = expected_arrivals([("id-1", sending)])

    assert expected == {("id-1", channel): 1 for channel in sending.expected}
