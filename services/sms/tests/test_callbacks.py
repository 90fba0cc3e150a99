from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.api.event.v1 import notification_event_pb2 as pb
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.errors import InvalidArgumentError
from clarion.sms.callback_url import DeliveryRef, callback_url, delivery_ref
from clarion.sms.callbacks import Inbound, Keyword, StatusCallback, read_form

STATUSES = (
    ("delivered", "", pb.EVENT_KIND_DELIVERED, "", ""),
    ("read", "", pb.EVENT_KIND_OPENED, "", ""),
    ("undelivered", "30003", pb.EVENT_KIND_UNDELIVERED, "unreachable", ""),
    ("undelivered", "30004", pb.EVENT_KIND_UNDELIVERED, "blocked", ""),
    ("undelivered", "30005", pb.EVENT_KIND_UNDELIVERED, "unknown_subscriber", ""),
    ("undelivered", "30006", pb.EVENT_KIND_UNDELIVERED, "invalid_address", ""),
    ("undelivered", "30007", pb.EVENT_KIND_UNDELIVERED, "filtered", ""),
    ("failed", "30008", pb.EVENT_KIND_UNDELIVERED, "unknown_error", ""),
    ("failed", "21610", pb.EVENT_KIND_UNDELIVERED, "opted_out", "stop"),
    ("undelivered", "", pb.EVENT_KIND_UNDELIVERED, "undelivered", ""),
    ("undelivered", "39999", pb.EVENT_KIND_UNDELIVERED, "undelivered", ""),
    ("queued", "", None, "", ""),
    ("sent", "", None, "", ""),
    ("sent", "21610", None, "", ""),
    ("teleported", "", None, "", ""),
)
WORDS = (
    ("STOP", "", Keyword.STOP),
    (" stop\n", "", Keyword.STOP),
    ("Unsubscribe", "", Keyword.STOP),
    ("OPTOUT", "", Keyword.STOP),
    ("start", "", Keyword.START),
    ("UNSTOP", "", Keyword.START),
    ("please stop", "", Keyword.OTHER),
    ("", "", Keyword.OTHER),
    ("arrêt", "STOP", Keyword.STOP),
    ("stop", "HELP", Keyword.OTHER),
)


@pytest.mark.parametrize(("status", "code", "kind", "reason", "suppress"), STATUSES)
def test_a_status_becomes_an_event(
    status: str, code: str, kind: int | None, reason: str, suppress: str
) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": status, "ErrorCode": code}
    callback = read_form(form)
    assert isinstance(callback, StatusCallback)
    assert (callback.kind, callback.reason) == (kind, reason)
    assert callback.suppress == suppress


@pytest.mark.parametrize(("body", "opt_out_type", "keyword"), WORDS)
def test_a_text_is_read_for_its_keyword(
    body: str, opt_out_type: str, keyword: Keyword
) -> None:
    form = {"MessageSid": "SM1", "From": "+15550100001", "Body": body}
    message = read_form(form | {"OptOutType": opt_out_type})
    assert isinstance(message, Inbound)
    assert message.keyword is keyword


@pytest.mark.parametrize(
    ("form", "missing"),
    [
        ({}, "MessageSid"),
        ({"MessageStatus": "sent"}, "MessageSid"),
        ({"MessageSid": "SM1"}, "MessageStatus or Body"),
        ({"MessageSid": "SM1", "Body": "STOP"}, "From"),
    ],
)
def test_a_malformed_form_is_refused(form: dict[str, str], missing: str) -> None:
    with pytest.raises(InvalidArgumentError, match=missing) as raised:
        read_form(form)
    assert raised.value.violations[0].field == "raw.data"


@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_the_callback_url_says_which_delivery_it_is(
    notification_id: str, delivery_id: str, type_: str
) -> None:
    job = make_job(notification_id=notification_id, delivery_id=delivery_id, type=type_)
    url = callback_url("https://mesh.example.com", job)
    assert delivery_ref(url) == DeliveryRef("demo", notification_id, delivery_id, type_)


def test_the_callback_url_names_no_person() -> None:
    job = make_job("+15550100001")
    assert "15550100001" not in callback_url("https://mesh.example.com", job)
    assert job.user_id not in callback_url("https://mesh.example.com", job)


@pytest.mark.parametrize(
    "query",
    ["", "tenant=demo", "tenant=De%20mo&notification_id=n&delivery_id=d", "&&=", "%"],
)
def test_any_other_url_is_no_delivery(query: str) -> None:
    assert delivery_ref(f"https://mesh.example.com/webhooks/sms/twilio?{query}") is None
