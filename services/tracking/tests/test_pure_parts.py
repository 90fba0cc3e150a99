"""Tables of the small pure modules: analytics, page tokens, columns, ids, settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.runtime import ids
from clarion.runtime.config import load, variables
from clarion.runtime.errors import (
    ConfigError,
    InvalidArgumentError,
    InvalidPageTokenError,
)
from clarion.tracking import columns, page_token
from clarion.tracking.analytics import METRICS, PERIODS, Question
from clarion.tracking.page_token import Position
from clarion.tracking.settings import Settings
from clarion.tracking.tracking_servicer import may_be_young

NOW = datetime(2026, 11, 22, 17, 45, 31, 5, tzinfo=UTC)

STARTS = [
    ("last_hour", datetime(2026, 11, 22, 16, 45, tzinfo=UTC)),
    ("last_24_hours", datetime(2026, 11, 21, 17, tzinfo=UTC)),
    ("last_7_days", datetime(2026, 11, 15, 17, tzinfo=UTC)),
    ("last_30_days", datetime(2026, 10, 23, tzinfo=UTC)),
    ("last_90_days", datetime(2026, 8, 24, tzinfo=UTC)),
]

BAD_TOKENS = ["x", "!!!!", "a" * 43, "é", "A" * 44, "A" * 400]


@pytest.mark.parametrize(("period", "start"), STARTS)
def test_a_period_begins_at_the_edge_of_a_bucket(period, start):
    assert PERIODS[period].start(NOW) == start


def test_an_empty_question_has_the_defaults_of_the_contract():
    asked = Question.parse("", "", "")
    assert asked == Question(
        "last_7_days", ("sent", "delivered", "opened", "clicked"), "channel"
    )


def test_metrics_are_a_list_with_commas():
    assert Question.parse("", " read, sent,,read", "").metrics == ("read", "sent")


@pytest.mark.parametrize(
    ("given", "field", "allowed"),
    [
        (("", "sent,bounced", ""), "metrics", METRICS),
        (("yesterday", "", ""), "period", PERIODS),
        (("", "", "user"), "breakdown", ("channel", "none")),
    ],
)
def test_an_unknown_word_is_answered_with_the_known_ones(given, field, allowed):
    with pytest.raises(InvalidArgumentError) as caught:
        Question.parse(*given)
    (violation,) = caught.value.violations
    assert violation.field == field
    assert all(word in violation.description for word in allowed)


@given(st.integers(0, 1 << 51), st.binary(min_size=16, max_size=16), st.text())
def test_a_page_token_comes_back_as_it_was(time, id, filter):
    position = Position(time, id)
    token = page_token.encode(position, "demo", filter)
    assert page_token.decode(token, "demo", filter) == position


def test_a_page_token_of_another_list_is_refused():
    token = page_token.encode(Position(5, bytes(16)), "demo", "ada")
    for scope in (("demo", "bob"), ("other", "ada")):
        with pytest.raises(InvalidPageTokenError):
            page_token.decode(token, *scope)


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_made_up_page_token_is_refused(token):
    with pytest.raises(InvalidPageTokenError) as caught:
        page_token.decode(token, "demo")
    assert caught.value.violations[0].field == "page_token"


def test_a_forged_page_token_is_refused():
    token = page_token.encode(Position(-1, bytes(16)), "demo")
    with pytest.raises(InvalidPageTokenError):
        page_token.decode(token, "demo")


def test_an_empty_page_token_is_the_beginning():
    assert page_token.decode("", "demo") == page_token.BEGINNING


def test_an_array_is_encoded_as_the_server_reads_it():
    made = columns.texts(["a", None, "é"])
    header = "0000000100000001000000190000000300000001"
    assert made.hex() == header + "0000000161ffffffff00000002c3a9"


@pytest.mark.parametrize(
    ("id", "young"),
    [
        (ids.uuid7(NOW - timedelta(seconds=9)), True),
        (ids.uuid7(NOW - timedelta(seconds=11)), False),
        (ids.uuid7(NOW + timedelta(minutes=1)), False),
        (ids.notification_id_for_key("demo", "key"), True),
        ("8f14e45f-ceea-467f-a8f5-3f0f4a5c4e11", False),
    ],
    ids=("fresh", "old", "of the future", "of a key", "of somebody else"),
)
def test_only_an_id_that_may_be_new_is_waited_for(id, young):
    assert may_be_young(bytes.fromhex(id.replace("-", "")), NOW) is young


def test_settings_have_working_defaults_and_stand_in_the_readme():
    assert load(Settings, {}).event_retention == timedelta(days=90)
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for variable in variables(Settings).values():
        assert variable in readme


@pytest.mark.parametrize(
    "environ",
    [
        {"CLARION_TRACKING_EVENT_RETENTION_DAYS": "7"},
        {"CLARION_TRACKING_RECORD_RETENTION_DAYS": "30"},
        {"CLARION_TRACKING_WRITERS": "0"},
    ],
)
def test_settings_that_cannot_work_are_refused(environ):
    with pytest.raises(ConfigError, match=next(iter(environ))):
        load(Settings, environ)
