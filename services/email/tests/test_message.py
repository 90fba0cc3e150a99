from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.email.mailbox import Mailbox
from clarion.email.message import build_message, message_id
from clarion.runtime.delivery.in_memory import make_job

NOW = datetime(2026, 11, 22, 12, 0, 5, 999, tzinfo=UTC)
SENDER = Mailbox("The Shop", "shop@example.com")
TO = "ada@example.org"

TEXTS = (
    "Your order",
    "",
    "Grüße ✓ 你好 👩‍🚀",
    "x" * 2000,
    "word " * 200,
    "é" * 500,
    "=?utf-8?b?SGk=?= is not decoded",
    "trailing space ",
    'quotes " and \\ and <angles>, commas; (comments)',
    "a" + " " * 120 + "b",
)
LONG_NAMES = ("x" * 128, "word " * 25 + "end", "é" * 128)
INJECTIONS = (
    "Hi\r\nBcc: all@example.com",
    "Hi\nBcc: all@example.com",
    "Hi\rBcc: all@example.com",
    "Hi\r\n\r\nbody",
    "Hi\x00\x0b\x0c\x1c\x85\u2028Bcc: all@example.com",
    "\r\nBcc: all@example.com",
    "é\r\nBcc: all@example.com",
    " " * 200 + "\r\n\r\nbody",
)


def read(job: DeliveryJob, sender: Mailbox = SENDER) -> EmailMessage:
    raw = build_message(job, TO, sender, NOW)
    # No bare line ends, and no line that a server may cut.
    assert raw.replace(b"\r\n", b"").find(b"\n") == -1
    assert raw.replace(b"\r\n", b"").find(b"\r") == -1
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.endswith(b"\r\n")
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert parsed.defects == []
    return parsed


def lines(text: str) -> list[str]:
    """What has to arrive: the kind of line end and empty lines at the end do not."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


def job_with(**content: str) -> DeliveryJob:
    job = make_job(TO)
    for name, value in content.items():
        setattr(job.content, name, value)
    return job


def test_a_mail_says_who_when_and_what_for() -> None:
    job = make_job(TO)
    job.target.display_name = "Ada Lovelace"
    mail = read(job)
    assert mail["From"] == "The Shop <shop@example.com>"
    assert mail["To"] == f"Ada Lovelace <{TO}>"
    assert mail["Date"].datetime == NOW.replace(microsecond=0)
    assert mail["Message-ID"] == f"<{job.delivery_id}@example.com>"
    assert mail["X-Clarion-Notification-Id"] == job.notification_id
    assert mail["X-Clarion-Delivery-Id"] == job.delivery_id
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"


def test_the_same_delivery_has_the_same_message_id() -> None:
    job = make_job(TO)
    assert message_id(job, SENDER) == message_id(job, SENDER)
    assert message_id(make_job(TO), SENDER) != message_id(job, SENDER)


@pytest.mark.parametrize("text", TEXTS)
def test_a_subject_arrives_as_it_was(text: str) -> None:
    assert str(read(job_with(title=text))["Subject"]) == text.strip()


@pytest.mark.parametrize("text", [t for t in TEXTS if 0 < len(t) <= 64])
def test_a_name_arrives_as_it_was(text: str) -> None:
    job = make_job(TO)
    job.target.display_name = text
    to = read(job, Mailbox(text, "shop@example.com"))["To"].addresses[0]
    assert (to.display_name, to.addr_spec) == (text.strip(), TO)


@pytest.mark.parametrize("text", LONG_NAMES)
def test_a_long_name_is_folded_and_arrives_whole(text: str) -> None:
    job = make_job(TO)
    job.target.display_name = text
    raw = build_message(job, TO, SENDER, NOW)
    # The modern policy joins the encoded words of a name with spaces, against RFC 2047.
    to = email.message_from_bytes(raw)["To"]
    name, address = parseaddr(str(make_header(decode_header(to))))
    assert (name, address) == (text, TO)
    assert max(map(len, raw.split(b"\r\n"))) <= 150


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_that_comes_in_ends_a_header(text: str) -> None:
    job = job_with(title=text)
    job.target.display_name = text
    job.notification_id = text
    job.delivery_id = text
    mail = read(job, Mailbox(text, "shop@example.com"))
    assert mail["Bcc"] is None
    assert len(mail.keys()) == 11
    assert mail.get_content().strip() == job.content.body


BODIES = (
    "Hello\nWorld\n",
    "Grüße ✓ 你好 👩‍🚀",
    ".\n..\n.end",
    "x" * 5000,
    "",
    "mixed\r\nline\rends\nhere",
    "nul \x00 byte",
)


@pytest.mark.parametrize("text", BODIES)
def test_a_text_arrives_as_it_was(text: str) -> None:
    assert lines(read(job_with(body=text)).get_content()) == lines(text)


@pytest.mark.parametrize("text", [b for b in BODIES if b])
def test_text_and_html_are_alternatives(text: str) -> None:
    mail = read(job_with(body=text, html=f"<p>{text}</p>"))
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    assert isinstance(plain, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert plain.get_content_type() == "text/plain"
    assert html.get_content_type() == "text/html"
    assert html.get_content().startswith("<p>")
    assert lines(plain.get_content()) == lines(text)


def test_html_alone_stays_alone() -> None:
    mail = read(job_with(body="", html="<p>Hi</p>"))
    assert mail.get_content_type() == "text/html"


def test_a_text_with_the_boundary_in_it_does_not_end_its_part() -> None:
    job = job_with(html="<p>Hi</p>")
    boundary = "=_" + "".join(c for c in job.delivery_id if c.isalnum())
    job.content.body = f"before\n--{boundary}--\nafter"
    plain, _ = read(job).iter_parts()
    assert isinstance(plain, EmailMessage)
    assert lines(plain.get_content()) == lines(job.content.body)
