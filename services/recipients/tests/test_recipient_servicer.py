from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from clarion.api.recipients.v1.consent_service_pb2 import BatchSuppressRequest
from clarion.api.recipients.v1.preference_service_pb2 import UpdatePreferencesRequest
from clarion.api.recipients.v1.recipient_pb2 import (
    Device,
    Preferences,
    Recipient,
    Suppression,
)
from clarion.api.recipients.v1.recipient_service_pb2 import (
    BatchGetRecipientsRequest,
    BatchPutRecipientsRequest,
    BatchRemoveTokensRequest,
    DeleteRecipientRequest,
    GetRecipientRequest,
    PutRecipientRequest,
    RegisterDeviceRequest,
    RemoveDeviceRequest,
)
from clarion.runtime.testing import TENANT_KEY, refused


def ann(**more: Any) -> Recipient:
    attributes = Struct()
    attributes.update({"plan": "gold", "age": 42, "none": None})
    return Recipient(
        email="Ann@Example.com",
        phone_number="+1 (415) 555-0123",
        display_name="Ann",
        locale="en-GB",
        time_zone="Europe/London",
        attributes=attributes,
        **more,
    )


def phone(token: str, device_id: str = "") -> Device:
    return Device(device_id=device_id, platform="ios", token=token, app_id="app")


async def put(stubs: Any, user_id: str, person: Recipient | None = None) -> Recipient:
    request = PutRecipientRequest(user_id=user_id, recipient=person or ann())
    return (await stubs.people.PutRecipient(request)).recipient


async def profiles(stubs: Any, *user_ids: str) -> list[Any]:
    request = BatchGetRecipientsRequest(user_ids=user_ids)
    return list((await stubs.people.BatchGetRecipients(request)).profiles)


async def tokens(stubs: Any, user_id: str) -> list[str]:
    (profile,) = await profiles(stubs, user_id)
    return [device.token for device in profile.recipient.devices]


async def test_a_person_is_stored_and_returned_as_put(stubs: Any) -> None:
    stored = await put(stubs, "ann", ann(devices=[phone("t1"), phone("t2")]))
    assert (stored.user_id, stored.phone_number) == ("ann", "+14155550123")
    assert stored.email == "Ann@Example.com"
    assert dict(stored.attributes.items()) == {"plan": "gold", "age": 42, "none": None}
    assert all(d.device_id and d.HasField("registered_time") for d in stored.devices)
    got = await stubs.people.GetRecipient(GetRecipientRequest(user_id="ann"))
    assert got.recipient == stored


async def test_put_replaces_a_person_with_the_devices(stubs: Any) -> None:
    first = await put(stubs, "ann", ann(devices=[phone("old"), phone("kept")]))
    second = await put(stubs, "ann", Recipient(devices=[phone("kept"), phone("new")]))
    assert second.email == ""
    assert sorted(await tokens(stubs, "ann")) == ["kept", "new"]
    registered = {d.token: d.registered_time for d in (*first.devices, *second.devices)}
    assert registered["kept"] == first.devices[1].registered_time or (
        first.devices[0].token == "kept"
    )


async def test_a_batch_is_stored_and_answered_in_the_order_asked_for(
    stubs: Any,
) -> None:
    people = [Recipient(user_id=f"u{n}", devices=[phone(f"t{n}")]) for n in range(1000)]
    stored = await stubs.people.BatchPutRecipients(
        BatchPutRecipientsRequest(recipients=people)
    )
    assert stored.stored == 1000
    asked = [f"u{n}" for n in range(999, -1, -1)] + ["nobody", "u7", "u7"]
    for _ in ("from postgres", "from the cache"):
        found = await profiles(stubs, *asked)
        ids = [p.recipient.user_id if p.found else "nobody" for p in found]
        assert ids == asked


@pytest.mark.parametrize(
    ("person", "field"),
    [
        (Recipient(phone_number="415-555-0123"), "phone_number"),
        (Recipient(phone_number="+1 555"), "phone_number"),
        (Recipient(time_zone="Europe/Atlantis"), "time_zone"),
        (Recipient(email="not an address"), "email"),
        (Recipient(user_id="someone-else"), "user_id"),
    ],
)
async def test_a_wrong_person_is_refused_naming_the_field(
    stubs: Any, person: Recipient, field: str
) -> None:
    with refused() as refusal:
        await put(stubs, "ann", person)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.reason == "INVALID_ARGUMENT"
    assert list(refusal.fields) == [f"recipient.{field}"]


async def test_one_wrong_person_refuses_the_batch_naming_all(stubs: Any) -> None:
    people = [
        Recipient(user_id="good"),
        Recipient(user_id="bad", phone_number="1"),
        Recipient(time_zone="X"),
    ]
    with refused() as refusal:
        await stubs.people.BatchPutRecipients(
            BatchPutRecipientsRequest(recipients=people)
        )
    assert list(refusal.fields) == [
        "recipients[1].phone_number",
        "recipients[2].user_id",
        "recipients[2].time_zone",
    ]
    assert not (await profiles(stubs, "good"))[0].found


async def test_text_with_nul_is_an_invalid_argument(stubs: Any) -> None:
    with refused() as refusal:
        await put(stubs, "ann", Recipient(display_name="a\0b"))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_person_that_is_not_there_is_not_found(stubs: Any) -> None:
    with refused() as refusal:
        await stubs.people.GetRecipient(GetRecipientRequest(user_id="nobody"))
    assert refusal.reason == "NOT_FOUND"
    with refused() as refusal:
        await stubs.people.RegisterDevice(
            RegisterDeviceRequest(user_id="nobody", device=phone("t"))
        )
    assert refusal.reason == "NOT_FOUND"


async def test_delete_forgets_the_person_devices_and_preferences(stubs: Any) -> None:
    await put(stubs, "ann", ann(devices=[phone("t")]))
    await stubs.preferences.UpdatePreferences(
        UpdatePreferencesRequest(
            user_id="ann", preferences=Preferences(push_enabled=False)
        )
    )
    assert (await profiles(stubs, "ann"))[0].preferences.version == 1
    request = DeleteRecipientRequest(user_id="ann")
    assert (await stubs.people.DeleteRecipient(request)).deleted
    assert not (await stubs.people.DeleteRecipient(request)).deleted
    (profile,) = await profiles(stubs, "ann")
    assert not profile.found
    assert profile.ByteSize() == 0
    await put(stubs, "ann")
    (profile,) = await profiles(stubs, "ann")
    assert not profile.recipient.devices
    assert not profile.HasField("preferences")


async def test_registering_again_refreshes_the_device(stubs: Any) -> None:
    await put(stubs, "ann")
    request = RegisterDeviceRequest(user_id="ann", device=phone("t"))
    first = (await stubs.people.RegisterDevice(request)).device
    second = (await stubs.people.RegisterDevice(request)).device
    assert first.device_id == second.device_id
    assert first.registered_time == second.registered_time
    assert await tokens(stubs, "ann") == ["t"]


async def test_a_token_belongs_to_whoever_registered_it_last(stubs: Any) -> None:
    await put(stubs, "ann", ann(devices=[phone("t")]))
    await put(stubs, "bob")
    assert await tokens(stubs, "ann") == ["t"]
    await stubs.people.RegisterDevice(
        RegisterDeviceRequest(user_id="bob", device=phone("t"))
    )
    assert (await tokens(stubs, "ann"), await tokens(stubs, "bob")) == ([], ["t"])
    await put(stubs, "cid", Recipient(devices=[phone("t")]))
    assert (await tokens(stubs, "bob"), await tokens(stubs, "cid")) == ([], ["t"])


async def test_a_device_with_a_new_token_loses_the_old_one(stubs: Any) -> None:
    await put(stubs, "ann", ann(devices=[phone("old", "d")]))
    await stubs.people.RegisterDevice(
        RegisterDeviceRequest(user_id="ann", device=phone("new", "d"))
    )
    assert await tokens(stubs, "ann") == ["new"]


async def test_the_21st_device_replaces_the_one_not_seen_for_longest(
    stubs: Any,
) -> None:
    devices = [phone(f"t{n}") for n in range(20)]
    for n, device in enumerate(devices):
        device.last_seen_time.FromSeconds(1_700_000_000 + n)
    await put(stubs, "ann", ann(devices=devices))
    await stubs.people.RegisterDevice(
        RegisterDeviceRequest(user_id="ann", device=phone("t20"))
    )
    left = await tokens(stubs, "ann")
    assert len(left) == 20
    assert "t0" not in left
    assert "t20" in left


async def test_devices_are_removed_by_id_and_by_token_again_and_again(
    stubs: Any,
) -> None:
    await put(stubs, "ann", ann(devices=[phone("a", "d1"), phone("b" * 4096, "d2")]))
    one = RemoveDeviceRequest(user_id="ann", device_id="d1")
    assert (await stubs.people.RemoveDevice(one)).removed
    assert not (await stubs.people.RemoveDevice(one)).removed
    many = BatchRemoveTokensRequest(tokens=["b" * 4096, "unknown"])
    assert (await stubs.people.BatchRemoveTokens(many)).removed == 1
    assert (await stubs.people.BatchRemoveTokens(many)).removed == 0
    assert await tokens(stubs, "ann") == []


async def test_a_profile_has_the_suppressions_of_the_persons_own_addresses(
    stubs: Any,
) -> None:
    await put(stubs, "ann", ann(devices=[phone("t")]))
    await put(stubs, "bob", Recipient(email="bob@example.com"))
    await profiles(stubs, "ann", "bob")
    addresses = {
        "email": "ANN@example.com",
        "sms": "+1 415-555-0123",
        "push": "t",
        "in_app": "ann",
    }
    await stubs.consents.BatchSuppress(
        BatchSuppressRequest(
            suppressions=[
                Suppression(channel=channel, address=address, reason="manual")
                for channel, address in addresses.items()
            ]
        )
    )
    for _ in ("from postgres", "from the cache"):
        ann_profile, bob_profile = await profiles(stubs, "ann", "bob")
        assert {(s.channel, s.address) for s in ann_profile.suppressions} == {
            ("email", "ann@example.com"),
            ("sms", "+14155550123"),
            ("push", "t"),
            ("in_app", "ann"),
        }
        assert not bob_profile.suppressions


async def test_a_user_id_that_looks_like_an_address_is_not_one(stubs: Any) -> None:
    await put(stubs, "x@example.com", Recipient(email="y@example.com"))
    await stubs.consents.BatchSuppress(
        BatchSuppressRequest(
            suppressions=[
                Suppression(channel="email", address="x@example.com", reason="manual")
            ]
        )
    )
    (profile,) = await profiles(stubs, "x@example.com")
    assert not profile.suppressions


async def test_another_tenant_sees_nothing_and_changes_nothing(
    service: Any, stubs: Any, tenant: str
) -> None:
    other = service.of(f"{tenant}-other")
    await put(stubs, "ann", ann(devices=[phone("t")]))
    assert not (await profiles(other, "ann"))[0].found
    with refused() as refusal:
        await other.people.GetRecipient(GetRecipientRequest(user_id="ann"))
    assert refusal.reason == "NOT_FOUND"
    request = BatchRemoveTokensRequest(tokens=["t"])
    assert (await other.people.BatchRemoveTokens(request)).removed == 0
    deletion = DeleteRecipientRequest(user_id="ann")
    assert not (await other.people.DeleteRecipient(deletion)).deleted
    await put(other, "ann", Recipient(devices=[phone("t")]))
    assert await tokens(stubs, "ann") == ["t"]


async def test_a_customers_key_cannot_call_the_internal_rpcs(service: Any) -> None:
    from clarion.api.recipients.v1.recipient_service_pb2_grpc import (
        RecipientServiceStub,
    )

    stub: Any = RecipientServiceStub(service.harness.channel(TENANT_KEY))
    with refused() as refusal:
        await stub.BatchGetRecipients(BatchGetRecipientsRequest(user_ids=["ann"]))
    assert refusal.reason == "MISSING_SCOPE"


async def test_a_batch_of_nobody_is_answered_with_nobody(stubs: Any) -> None:
    assert await profiles(stubs) == []
