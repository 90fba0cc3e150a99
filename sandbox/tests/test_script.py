from __future__ import annotations

from typing import Any

import pytest

from clarion.sandbox.script import Script, ScriptError

BAD_RULES: list[tuple[Any, str]] = [
    ("text", "rules"),
    ([1], "rules[0]"),
    ([{}], "rules[0].action"),
    ([{"action": {}, "extra": 1}], "rules[0].extra"),
    ([{"match": {"provider": "gcm"}, "action": {}}], "rules[0].match.provider"),
    ([{"match": {"channel": "fax"}, "action": {}}], "rules[0].match.channel"),
    (
        [{"match": {"provider": "fcm", "channel": "sms"}, "action": {}}],
        "rules[0].match.channel",
    ),
    ([{"match": {"recipient": "a*b"}, "action": {}}], "rules[0].match.recipient"),
    ([{"match": {"recipient": 7}, "action": {}}], "rules[0].match.recipient"),
    ([{"times": 0, "action": {}}], "rules[0].times"),
    ([{"times": True, "action": {}}], "rules[0].times"),
    ([{"action": {}}, {"action": {"status": 99}}], "rules[1].action.status"),
    ([{"action": {"status": "503"}}], "rules[0].action.status"),
    ([{"action": {"code": "UNREGISTERED"}}], "rules[0].action.code"),
    (
        [{"match": {"provider": "smtp"}, "action": {"code": "5.1.1"}}],
        "rules[0].action.code",
    ),
    (
        [{"match": {"provider": "oauth"}, "action": {"code": "INTERNAL"}}],
        "rules[0].action.code",
    ),
    ([{"action": {"delay_ms": -1}}], "rules[0].action.delay_ms"),
    ([{"action": {"hang_up": "later"}}], "rules[0].action.hang_up"),
    ([{"action": {"unregistered": 1}}], "rules[0].action.unregistered"),
    ([{"action": {"retry_after": 5}}], "rules[0].action.retry_after"),
    ([{"action": {"receipts": {}}}], "rules[0].action.receipts"),
    (
        [{"action": {"receipts": [{"status": "eaten"}]}}],
        "rules[0].action.receipts[0].status",
    ),
    (
        [{"match": {"channel": "push"}, "action": {"receipts": [{"status": "sent"}]}}],
        "rules[0].action.receipts[0]",
    ),
    (
        [{"action": {"silent": True, "receipts": [{"status": "sent"}]}}],
        "rules[0].action.silent",
    ),
]


@pytest.mark.parametrize(("document", "field"), BAD_RULES, ids=lambda v: str(v)[:60])
def test_a_bad_rule_is_refused_with_its_field(document: Any, field: str) -> None:
    script = Script()
    script.replace([{"action": {"status": 503}}])
    with pytest.raises(ScriptError) as caught:
        script.replace(document)
    assert caught.value.field == field
    assert len(script.rules) == 1


def test_the_first_rule_that_fits_wins() -> None:
    script = Script()
    script.replace(
        [
            {"match": {"recipient": "ada*"}, "action": {"status": 500}},
            {"match": {"recipient": "ada-1"}, "action": {"status": 503}},
            {"match": {"recipient": "bob"}, "action": {"status": 404}},
        ]
    )
    statuses = []
    for name in ("ada-1", "ada-2", "bob", "eve"):
        action = script.action_for("fcm", "push", name)
        statuses.append(action.status if action else None)
    assert statuses == [500, 500, 404, None]


def test_a_rule_applies_as_many_times_as_it_says() -> None:
    script = Script()
    script.replace([{"times": 2, "action": {"status": 503}}])
    hits = [script.action_for("fcm", "push", "x") is not None for _ in range(4)]
    assert hits == [True, True, False, False]
    assert script.as_json()[0]["applied"] == 2


def test_a_peek_does_not_count() -> None:
    script = Script()
    script.replace([{"times": 1, "action": {"status": 503}}])
    assert script.action_for("fcm", "push", "x", peek=True)
    assert script.action_for("fcm", "push", "x")


def test_the_token_endpoint_takes_part_only_by_name() -> None:
    script = Script()
    script.replace([{"action": {"status": 503}}])
    assert script.action_for("oauth", "", "me") is None
    script.replace([{"match": {"provider": "oauth"}, "action": {"status": 503}}])
    assert script.action_for("oauth", "", "me")
