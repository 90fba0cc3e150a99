from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import Content, DigestFold
from clarion.router.digests.composing import compose, size_of
from clarion.router.digests.fitting import fit
from clarion.router.digests.folding import bucket_of, digest_id
from clarion.router.digests.windows import MOST_BYTES, MOST_ITEMS

CLOSED = datetime(2027, 1, 1, 9, tzinfo=UTC)


@pytest.fixture
def fold(make_item: Any) -> Any:
    def make(**fields: Any) -> DigestFold:
        channels = fields.pop("digested", ["push"])
        expires = fields.pop("expires", None)
        made = DigestFold(
            item=make_item(**fields),
            channels=channels,
            priority=fields.get("priority") or "medium",
            category="comments",
        )
        if expires is not None:
            made.expires_time.FromDatetime(expires)
        return made

    return make


def test_one_alone_is_sent_as_it_would_have_been(fold: Any) -> None:
    one = fold(
        title="Hello",
        template_id="rich",
        data={"n": 1},
        idempotency_key="k",
        tags={"a": "b"},
        expires=CLOSED + timedelta(hours=1),
        digested=["email"],
    )
    made = compose("w", [one], CLOSED)
    own, asked = made.notification, one.item.notification
    assert made.notification_id == digest_id("w")
    assert (made.tenant_id, made.key_id) == ("demo", "key-1")
    assert (own.title, own.template_id, own.data) == ("Hello", "rich", asked.data)
    assert (own.tags, list(own.channels)) == (asked.tags, ["email"])
    assert own.expires_at.ToDatetime(UTC) == CLOSED + timedelta(hours=1)
    assert not own.idempotency_key
    assert (made.digest.window_id, made.digest.count) == ("w", 1)


def test_several_become_one_message_with_all_of_them_in_order(fold: Any) -> None:
    folds = [
        fold(title="Ada", message="wrote\n a line", data={"post": 1}),
        fold(title="Bob", digested=["push", "email"], priority="high"),
        fold(title="", template_id="t", digested=["email"], priority="low"),
    ]
    made = compose("w", folds, CLOSED)
    own = made.notification
    assert own.title == "3 × comment"
    assert own.message == "Ada: wrote a line\nBob"
    assert list(own.channels) == ["push", "email"]
    assert (own.user_id, own.type, own.category) == ("ada", "comment", "comments")
    assert own.priority == "high"
    assert not own.template_id
    assert own.data["count"] == 3
    items = own.data["items"]
    assert [item["notification_id"] for item in items] == [
        one.item.notification_id for one in folds
    ]
    assert items[0]["data"]["post"] == 1
    assert items[0]["message"] == "wrote\n a line"
    accepted = folds[0].item.accepted_time
    assert items[0]["accepted_time"] == accepted.ToJsonString()
    assert made.accepted_time.ToDatetime(UTC) == CLOSED
    assert compose("w", folds, CLOSED) == made


def test_what_all_agree_on_holds_for_the_digest(fold: Any) -> None:
    folds = [
        fold(locale="de", digest_key="post", tags={"a": "1"}, collapse_key="x"),
        fold(locale="de", digest_key="post", tags={"a": "2"}),
    ]
    own = compose("w", folds, CLOSED).notification
    assert (own.locale, own.digest_key) == ("de", "post")
    assert (dict(own.tags), own.collapse_key) == ({}, "")


def test_it_expires_with_the_last_of_its_items(fold: Any) -> None:
    soon, later = CLOSED + timedelta(hours=1), CLOSED + timedelta(hours=2)
    folds = [fold(expires=later), fold(expires=soon)]
    own = compose("w", folds, CLOSED).notification
    assert own.expires_at.ToDatetime(UTC) == later
    own = compose("w", [*folds, fold()], CLOSED).notification
    assert not own.HasField("expires_at")


@pytest.mark.parametrize("text", ["x" * 40, "ü" * 80, "", "x" * 3000, "🦉" * 2000])
def test_the_largest_digest_is_one_that_would_be_accepted(fold: Any, text: str) -> None:
    folds: list[Any] = []
    size = 0
    while len(folds) < MOST_ITEMS:
        one = fold(title=text[:256], message=text, data={"k": "v"})
        size += size_of(one)
        if size > MOST_BYTES:
            break
        folds.append(one)
    own = compose("w", folds, CLOSED).notification
    assert own.ByteSize() < 65_536
    assert len(own.message) <= 8192
    assert own.data.ByteSize() <= MOST_BYTES + 64


def test_lines_that_find_no_room_are_counted(fold: Any) -> None:
    folds = [fold(title=f"{number:03} {'x' * 100}") for number in range(100)]
    lines = compose("w", folds, CLOSED).notification.message.split("\n")
    assert len(lines) < 100
    assert lines[-1] == f"… {100 - len(lines) + 1} more"


@pytest.mark.parametrize(
    ("fields", "is_same"),
    [
        ({}, True),
        ({"title": "Other", "priority": "high", "channels": ["sms"]}, True),
        ({"user_id": "bob"}, False),
        ({"type": "like"}, False),
        ({"digest_key": "post-2"}, False),
        ({"tenant": "other"}, False),
    ],
)
def test_a_bucket_is_of_one_person_type_and_key(
    fold: Any, fields: dict[str, Any], is_same: bool
) -> None:
    assert (bucket_of(fold(**fields)) == bucket_of(fold())) == is_same


def test_what_was_over_a_limit_and_other_categories_are_apart(fold: Any) -> None:
    other, limited = fold(), fold()
    other.category = "likes"
    limited.over_limit = True
    assert len({bucket_of(one) for one in (fold(), other, limited)}) == 3


def test_a_digest_fits_its_channel() -> None:
    content = Content(body="x" * 5000)
    content.data.update({"count": 50, "items": [{"title": "x" * 100}] * 50})
    for channel, body, has_items in [
        ("push", 1000, False),
        ("sms", 600, True),
        ("email", 5000, True),
        ("in_app", 5000, True),
    ]:
        own = Content()
        own.CopyFrom(content)
        fit(channel, own)
        assert len(own.body) == body
        assert ("items" in own.data) == has_items
        assert own.data["count"] == 50


def test_a_small_digest_is_pushed_with_its_items() -> None:
    content = Content(body="short")
    content.data.update({"count": 1, "items": [{"title": "x"}]})
    before = Content()
    before.CopyFrom(content)
    fit("push", content)
    assert content == before
