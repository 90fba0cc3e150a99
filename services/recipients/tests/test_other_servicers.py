from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from clarion.api.recipients.v1.consent_service_pb2 import (
    BatchSuppressRequest,
    Consent,
    ListConsentsRequest,
    ListSuppressionsRequest,
    RecordConsentRequest,
    RemoveSuppressionRequest,
)
from clarion.api.recipients.v1.preference_service_pb2 import (
    GetPreferencesRequest,
    UpdatePreferencesRequest,
)
from clarion.api.recipients.v1.recipient_pb2 import (
    Preferences,
    QuietHours,
    Recipient,
    Suppression,
)
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsRequest,
    PutRecipientRequest,
)
from clarion.api.recipients.v1.topic_service_pb2 import (
    ListSubscribersRequest,
    SubscribeRequest,
    UnsubscribeRequest,
)
from clarion.runtime.keys import suppressed_key
from clarion.runtime.testing import refused


async def update(stubs: Any, user_id: str, **wanted: Any) -> Preferences:
    request = UpdatePreferencesRequest(
        user_id=user_id, preferences=Preferences(**wanted)
    )
    return await stubs.preferences.UpdatePreferences(request)


async def test_preferences_of_an_unknown_person_are_stored_and_merged(
    stubs: Any,
) -> None:
    assert (await update(stubs, "u", categories={"promotional": False})).version == 1
    second = await update(stubs, "u", sms_enabled=False)
    assert (second.version, second.categories["promotional"]) == (2, False)
    got = await stubs.preferences.GetPreferences(GetPreferencesRequest(user_id="u"))
    assert got.user_id == "u"
    assert got.version == 2
    assert (got.push_enabled, got.sms_enabled) == (True, False)


async def test_preferences_from_before_the_person_was_known_count(stubs: Any) -> None:
    await update(stubs, "u", push_enabled=False)
    asked = BatchGetRecipientsRequest(user_ids=["u"])
    (profile,) = (await stubs.people.BatchGetRecipients(asked)).profiles
    assert not profile.found
    await stubs.people.PutRecipient(
        PutRecipientRequest(user_id="u", recipient=Recipient(locale="en"))
    )
    (profile,) = (await stubs.people.BatchGetRecipients(asked)).profiles
    assert profile.found
    assert not profile.preferences.push_enabled
    await update(stubs, "u", push_enabled=True)
    (profile,) = (await stubs.people.BatchGetRecipients(asked)).profiles
    assert (profile.preferences.push_enabled, profile.preferences.version) == (True, 2)


async def test_a_person_without_preferences_has_the_defaults(stubs: Any) -> None:
    got = await stubs.preferences.GetPreferences(GetPreferencesRequest(user_id="u"))
    assert got == Preferences(
        user_id="u",
        push_enabled=True,
        email_enabled=True,
        sms_enabled=True,
        in_app_enabled=True,
        inherited=["push_enabled", "email_enabled", "sms_enabled", "in_app_enabled"],
        warnings=got.warnings,
    )


async def test_repeating_a_change_keeps_the_version(stubs: Any) -> None:
    first = await update(stubs, "u", push_enabled=False)
    assert await update(stubs, "u", push_enabled=False) == first


async def test_concurrent_first_changes_are_all_kept(stubs: Any) -> None:
    names = [f"c{n}" for n in range(12)]
    await asyncio.gather(*(update(stubs, "u", categories={n: False}) for n in names))
    got = await stubs.preferences.GetPreferences(GetPreferencesRequest(user_id="u"))
    assert sorted(got.categories) == sorted(names)
    assert got.version == len(names)


async def test_an_unknown_time_zone_is_refused_naming_the_field(stubs: Any) -> None:
    hours = QuietHours(start="22:00", end="08:00", timezone="Mars/Base")
    with refused() as refusal:
        await update(stubs, "u", quiet_hours=hours)
    assert list(refusal.fields) == ["preferences.quiet_hours.timezone"]
    assert "Europe/Berlin" in refusal.fields["preferences.quiet_hours.timezone"]


async def record(stubs: Any, user_id: str, **entry: Any) -> Consent:
    entry = {"granted": False, "source": "signup_form", **entry}
    request = RecordConsentRequest(user_id=user_id, consent=Consent(**entry))
    return (await stubs.consents.RecordConsent(request)).consent


async def test_the_ledger_is_listed_newest_first_in_pages(stubs: Any) -> None:
    for n in range(5):
        await record(stubs, "u", category=f"c{n}", granted=True)
    await record(stubs, "other", category="x")
    found, token = [], ""
    while True:
        page = await stubs.consents.ListConsents(
            ListConsentsRequest(user_id="u", page_size=2, page_token=token)
        )
        found += [entry.category for entry in page.consents]
        token = page.next_page_token
        if not token:
            break
    assert found == ["c4", "c3", "c2", "c1", "c0"]


async def test_a_repeated_consent_is_one_entry_and_another_text_a_conflict(
    stubs: Any,
) -> None:
    first = await record(stubs, "u", granted=True, request_id="r")
    assert await record(stubs, "u", granted=True, request_id="r") == first
    with refused() as refusal:
        await record(stubs, "u", granted=False, request_id="r")
    assert refusal.reason == "IDEMPOTENCY_KEY_REUSED"
    page = await stubs.consents.ListConsents(ListConsentsRequest(user_id="u"))
    assert len(page.consents) == 1


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"source": "form"}, "granted"),
        ({"granted": False}, "source"),
        ({"granted": False, "source": "form", "channel": "fax"}, "channel"),
        ({"granted": False, "source": "form", "category": "1 x"}, "category"),
        (
            {
                "granted": False,
                "source": "form",
                "given_time": Timestamp(seconds=2**32),
            },
            "given_time",
        ),
    ],
    ids=["nothing said", "no source", "no channel", "no category", "not yet"],
)
async def test_an_entry_that_proves_nothing_or_stops_by_mistake_is_refused(
    stubs: Any, entry: dict[str, Any], field: str
) -> None:
    with refused() as refusal:
        request = RecordConsentRequest(user_id="u", consent=Consent(**entry))
        await stubs.consents.RecordConsent(request)
    assert list(refusal.fields) == [f"consent.{field}"]
    page = await stubs.consents.ListConsents(ListConsentsRequest(user_id="u"))
    assert not page.consents


@pytest.mark.parametrize(
    "statement", ["UPDATE consent SET granted = true", "DELETE FROM consent"]
)
async def test_the_ledger_cannot_be_changed(
    stubs: Any, postgres_url: str, statement: str
) -> None:
    await record(stubs, "u", granted=False)
    async with await psycopg.AsyncConnection.connect(
        postgres_url, options="-c search_path=recipients"
    ) as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            await connection.execute(statement.encode())


def bounced(address: str, channel: str = "email") -> Suppression:
    return Suppression(channel=channel, address=address, reason="bounce", source="ses")


async def suppress(stubs: Any, *suppressions: Suppression) -> int:
    request = BatchSuppressRequest(suppressions=suppressions)
    return (await stubs.consents.BatchSuppress(request)).added


async def test_a_suppression_is_in_valkey_under_every_spelling_until_lifted(
    stubs: Any, redis: Any, tenant: str
) -> None:
    await stubs.people.PutRecipient(
        PutRecipientRequest(user_id="u", recipient=Recipient(email="AN@example.com"))
    )
    assert await suppress(stubs, bounced("An@Example.com")) == 1
    assert await suppress(stubs, bounced("an@example.com")) == 0
    keys = [
        suppressed_key(tenant, "email", spelling)
        for spelling in ("An@Example.com", "an@example.com", "AN@example.com")
    ]
    assert await redis.exists(*keys[1:]) == 2
    lifting = RemoveSuppressionRequest(channel="email", address="An@Example.com")
    assert (await stubs.consents.RemoveSuppression(lifting)).removed
    assert not (await stubs.consents.RemoveSuppression(lifting)).removed
    assert await redis.exists(*keys) == 0
    (profile,) = (
        await stubs.people.BatchGetRecipients(BatchGetRecipientsRequest(user_ids=["u"]))
    ).profiles
    assert not profile.suppressions


def mail(reason: str) -> Suppression:
    return Suppression(channel="email", address="u@example.com", reason=reason)


@pytest.mark.parametrize(
    ("channel", "address", "field"),
    [
        ("fax", "x", "channel"),
        ("email", "not a mail", "address"),
        ("sms", "4155550123", "address"),
    ],
)
async def test_an_address_that_nothing_is_ever_sent_to_is_not_suppressed(
    stubs: Any, channel: str, address: str, field: str
) -> None:
    with refused() as refusal:
        await suppress(stubs, bounced("an@example.com"), bounced(address, channel))
    assert list(refusal.fields) == [f"suppressions[1].{field}"]
    assert await suppress(stubs, bounced("72345", "sms")) == 1  # a short code


@pytest.mark.parametrize(
    ("added", "kept"),
    [
        ((["unsubscribe"],), "unsubscribe"),
        ((["unsubscribe"], ["bounce"]), "bounce"),
        ((["bounce"], ["unsubscribe"]), "bounce"),
        ((["complaint"], ["bounce"]), "complaint"),
        ((["unsubscribe"], ["stop"], ["unsubscribe"]), "stop"),
        ((["manual", "unsubscribe"],), "manual"),
        ((["unsubscribe", "manual"],), "manual"),
    ],
)
async def test_an_unsubscription_gives_way_to_what_stops_more(
    stubs: Any, redis: Any, tenant: str, added: tuple[list[str], ...], kept: str
) -> None:
    await stubs.people.PutRecipient(
        PutRecipientRequest(user_id="u", recipient=Recipient(email="U@example.com"))
    )
    new = [await suppress(stubs, *map(mail, reasons)) for reasons in added]
    assert new == [1] + [0] * (len(added) - 1)
    (profile,) = (
        await stubs.people.BatchGetRecipients(BatchGetRecipientsRequest(user_ids=["u"]))
    ).profiles
    assert [entry.reason for entry in profile.suppressions] == [kept]
    for spelling in ("u@example.com", "U@example.com"):
        key = suppressed_key(tenant, "email", spelling)
        assert (await redis.get(key)).decode() == kept


async def test_an_instant_that_does_not_exist_is_refused(stubs: Any) -> None:
    wrong = bounced("a@example.com")
    wrong.created_time.seconds = 10**15
    with refused() as refusal:
        await suppress(stubs, bounced("b@example.com"), wrong)
    assert list(refusal.fields) == ["suppressions[1].created_time"]
    with refused() as refusal:
        await record(stubs, "u", given_time=wrong.created_time)
    assert list(refusal.fields) == ["consent.given_time"]


async def test_suppressions_are_listed_by_channel_and_address(
    service: Any, stubs: Any, tenant: str
) -> None:
    long = "z" * 3000
    await suppress(
        stubs,
        *(bounced(f"{name}@example.com") for name in "cab"),
        bounced("+14155550123", "sms"),
        bounced(long + "1", "push"),
        bounced(long + "2", "push"),
    )
    await suppress(service.of(f"{tenant}-other"), bounced("foreign@example.com"))
    found, token = [], ""
    while True:
        page = await stubs.consents.ListSuppressions(
            ListSuppressionsRequest(page_size=1, page_token=token)
        )
        found += [(entry.channel, entry.address) for entry in page.suppressions]
        token = page.next_page_token
        if not token:
            break
    assert found[:3] == [("email", f"{name}@example.com") for name in "abc"]
    assert {address for _, address in found[3:5]} == {long + "1", long + "2"}
    assert found[5:] == [("sms", "+14155550123")]
    only = await stubs.consents.ListSuppressions(ListSuppressionsRequest(channel="sms"))
    assert len(only.suppressions) == 1


@pytest.mark.parametrize("token", ["rubbish", "WyJhIl0=", "bnVsbA==", "WzFd"])
async def test_a_foreign_page_token_is_refused(stubs: Any, token: str) -> None:
    with refused() as refusal:
        await stubs.consents.ListSuppressions(ListSuppressionsRequest(page_token=token))
    assert refusal.reason == "INVALID_PAGE_TOKEN"
    with refused() as refusal:
        await stubs.consents.ListConsents(
            ListConsentsRequest(user_id="u", page_token=token)
        )
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_subscribers_come_and_go_and_are_listed_in_order(
    service: Any, stubs: Any, tenant: str
) -> None:
    people = ["b", "a", "C", "ä", "b"]
    subscription = SubscribeRequest(topic="news", user_ids=people)
    assert (await stubs.topics.Subscribe(subscription)).added == 4
    assert (await stubs.topics.Subscribe(subscription)).added == 0
    removal = UnsubscribeRequest(topic="news", user_ids=["a", "nobody"])
    assert (await stubs.topics.Unsubscribe(removal)).removed == 1
    first = await stubs.topics.ListSubscribers(
        ListSubscribersRequest(topic="news", page_size=2)
    )
    assert list(first.user_ids) == ["C", "b"]
    rest = await stubs.topics.ListSubscribers(
        ListSubscribersRequest(topic="news", page_token=first.next_page_token)
    )
    assert (list(rest.user_ids), rest.next_page_token) == (["ä"], "")
    foreign = await service.of(f"{tenant}-other").topics.ListSubscribers(
        ListSubscribersRequest(topic="news")
    )
    assert not foreign.user_ids


async def test_pages_of_a_topic_hold_while_people_come_and_go(stubs: Any) -> None:
    staying = [f"user-{number:04d}" for number in range(0, 3000, 2)]
    for start in range(0, len(staying), 1000):
        run = staying[start : start + 1000]
        await stubs.topics.Subscribe(SubscribeRequest(topic="news", user_ids=run))
    found: list[str] = []
    token, restless = "", 1
    while True:
        page = await stubs.topics.ListSubscribers(
            ListSubscribersRequest(topic="news", page_size=100, page_token=token)
        )
        found += page.user_ids
        token = page.next_page_token
        if not token:
            break
        # Before, at and behind the place where the next page begins; then they leave.
        last = page.user_ids[-1]
        people = ["user-0000a", f"{last}a", last[:-1], f"user-{restless:04d}"]
        await stubs.topics.Subscribe(SubscribeRequest(topic="news", user_ids=people))
        if restless % 3:
            await stubs.topics.Unsubscribe(
                UnsubscribeRequest(topic="news", user_ids=people)
            )
        restless += 200
    assert len(set(found)) == len(found)
    assert found == sorted(found)
    assert set(staying) <= set(found)


async def test_what_cannot_be_a_person_cannot_subscribe(stubs: Any) -> None:
    with refused() as refusal:
        await stubs.topics.Subscribe(
            SubscribeRequest(topic="news", user_ids=["a", "b c", ""])
        )
    assert list(refusal.fields) == ["user_ids[1]", "user_ids[2]"]


async def consents_of(stubs: Any) -> list[tuple[str, str, bool]]:
    asked = BatchGetRecipientsRequest(user_ids=["u"])
    (profile,) = (await stubs.people.BatchGetRecipients(asked)).profiles
    return [(one.channel, one.category, one.granted) for one in profile.consents]


async def test_a_profile_has_the_last_word_on_each_once_something_was_taken_back(
    stubs: Any,
) -> None:
    await stubs.people.PutRecipient(
        PutRecipientRequest(user_id="u", recipient=Recipient(locale="en"))
    )
    assert await consents_of(stubs) == []
    await record(stubs, "u", channel="email", granted=True)
    await record(stubs, "u", category="news", granted=True)
    assert await consents_of(stubs) == []
    await record(stubs, "u", channel="email", granted=False)
    assert await consents_of(stubs) == [("", "news", True), ("email", "", False)]
    await record(stubs, "u", channel="email", granted=True)
    assert await consents_of(stubs) == []
