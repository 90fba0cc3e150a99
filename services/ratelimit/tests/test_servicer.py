from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.runtime.caller import as_tenant
from clarion.runtime.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)

pytestmark = pytest.mark.integration


def item(request_id="r", user_id="u1", category="promotional", **more):
    return pb.AcquireItem(
        request_id=request_id, user_id=user_id, category=category, **more
    )


def batch(count, **more):
    items = [item(f"r{number}", **more) for number in range(count)]
    return pb.BatchAcquireRequest(items=items)


async def test_a_batch_is_answered_in_order_with_what_is_used(mesh):
    before = datetime.now(UTC)
    answer = await mesh.BatchAcquire(batch(4))
    assert [result.allowed for result in answer.results] == [True, True, True, False]
    assert [result.daily_used for result in answer.results] == [1, 2, 3, 3]
    refused = answer.results[3]
    assert refused.exceeded == "daily"
    free = refused.available_time.ToDatetime(UTC) - timedelta(days=1)
    assert before <= free <= datetime.now(UTC)


async def test_a_look_says_what_an_acquire_would_say_and_takes_nothing(mesh, shop):
    for number in range(5):
        asked = pb.BatchPeekRequest(items=[item(f"r{number}"), item("other")])
        looked = (await mesh.BatchPeek(asked)).results
        acquired = await mesh.BatchAcquire(
            pb.BatchAcquireRequest(items=[item(f"r{number}")])
        )
        assert looked[0] == looked[1] == acquired.results[0]
    usage = await shop.GetUsage(pb.GetUsageRequest(user_id="u1"))
    assert usage.categories["promotional"].daily_used == 3


async def test_a_personal_limit_of_none_has_no_available_time(mesh):
    answer = await mesh.BatchAcquire(
        batch(1, personal_limit=pb.FrequencyLimit(daily=0))
    )
    assert not answer.results[0].allowed
    assert not answer.results[0].HasField("available_time")


async def test_an_item_without_a_category_is_of_the_default_one(mesh, shop):
    await mesh.BatchAcquire(batch(1, category=""))
    usage = await shop.GetUsage(pb.GetUsageRequest(user_id="u1"))
    assert usage.categories["default"].daily_used == 1


async def test_released_permits_are_counted(mesh):
    await mesh.BatchAcquire(batch(2))
    request = pb.BatchReleaseRequest(items=batch(5).items)
    assert (await mesh.BatchRelease(request)).released == 2
    assert (await mesh.BatchRelease(request)).released == 0


async def test_usage_and_policies_are_shown_to_the_tenant(mesh, shop):
    await mesh.BatchAcquire(batch(2))
    put = await shop.PutPolicy(
        pb.PutPolicyRequest(category="news", limit=pb.FrequencyLimit(daily=5))
    )
    assert (put.category, put.limit.daily, put.limit.weekly) == ("news", 5, 500)
    usage = await shop.GetUsage(pb.GetUsageRequest(user_id="u1"))
    assert usage.categories["promotional"].daily_used == 2
    assert usage.categories["news"].limit.daily == 5
    policies = await shop.ListPolicies(pb.ListPoliciesRequest())
    assert sorted(policies.categories) == [
        *("default", "news", "order_updates", "promotional", "security")
    ]


async def test_usage_shows_the_windows_of_a_type_s_own(mesh, shop):
    limits = pb.TypeLimits()
    limits.windows.add(most=5).span.FromTimedelta(timedelta(hours=1))
    await mesh.BatchAcquire(batch(2, type="ping", type_limits=limits))
    usage = await shop.GetUsage(pb.GetUsageRequest(user_id="u1"))
    [window] = usage.windows
    assert (window.policy_id, window.used, window.window.most) == ("type:ping", 2, 5)
    assert window.window.span.ToTimedelta() == timedelta(hours=1)


async def test_a_foreign_tenant_sees_nothing(mesh, shop):
    await mesh.BatchAcquire(batch(3))
    await shop.PutPolicy(
        pb.PutPolicyRequest(category="news", limit=pb.FrequencyLimit(daily=5))
    )
    with as_tenant("other"):
        answer = await mesh.BatchAcquire(batch(1))
        assert answer.results[0].daily_used == 1
        request = pb.BatchReleaseRequest(items=batch(3).items)
        assert (await mesh.BatchRelease(request)).released == 1
    usage = await shop.GetUsage(pb.GetUsageRequest(user_id="u1"))
    assert usage.categories["promotional"].daily_used == 3


async def test_permits_are_for_services_only(shop):
    with pytest.raises((PermissionDeniedError, UnavailableError)) as refused:
        await shop.BatchAcquire(batch(1))
    assert "PERMISSION_DENIED" in str(refused.value.__cause__)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"request_id": ""}, "items[1].request_id"),
        ({"request_id": "x" * 129}, "items[1].request_id"),
        ({"user_id": ""}, "items[1].user_id"),
        ({"user_id": "x" * 129}, "items[1].user_id"),
        ({"category": "a/b"}, "items[1].category"),
        ({"category": "x" * 65}, "items[1].category"),
        ({"type": "a/b", "type_limits": pb.TypeLimits()}, "items[1].type"),
        ({"channels": ["a/b"], "type_limits": pb.TypeLimits()}, "items[1].channels[0]"),
    ],
)
async def test_an_item_that_cannot_be_counted_is_named(mesh, wrong, field):
    request = pb.BatchAcquireRequest(items=[item(), item(**wrong)])
    with pytest.raises(InvalidArgumentError) as refused:
        await mesh.BatchAcquire(request)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_policy_of_a_malformed_category_is_refused(shop):
    with pytest.raises(InvalidArgumentError) as refused:
        await shop.PutPolicy(
            pb.PutPolicyRequest(category="a b", limit=pb.FrequencyLimit(daily=1))
        )
    assert refused.value.violations[0].field == "category"


def window(seconds, most):
    made = pb.LimitWindow(most=most)
    made.span.FromSeconds(seconds)
    return made


async def put(shop, policy_id, /, *windows, **fields):
    policy = pb.LimitPolicy(windows=windows, **fields)
    request = pb.PutLimitPolicyRequest(policy_id=policy_id, policy=policy)
    return (await shop.PutLimitPolicy(request)).policy


async def test_policies_by_category_type_and_channel_are_put_listed_and_deleted(shop):
    first = await put(shop, "sms-cap", window(3600, 2), channel="sms", type="otp")
    second = await put(shop, "closed", category="security", on_failure="closed")
    assert first.policy_id == "sms-cap"
    listed = await shop.ListLimitPolicies(pb.ListLimitPoliciesRequest())
    assert list(listed.policies) == [second, first]
    await shop.DeleteLimitPolicy(pb.DeleteLimitPolicyRequest(policy_id="closed"))
    listed = await shop.ListLimitPolicies(pb.ListLimitPoliciesRequest())
    assert list(listed.policies) == [first]
    with pytest.raises(NotFoundError):
        await shop.DeleteLimitPolicy(pb.DeleteLimitPolicyRequest(policy_id="closed"))


@pytest.mark.parametrize(
    ("windows", "fields", "field"),
    [
        ([], {}, "policy"),
        ([window(0, 1)], {}, "policy.windows[0].span"),
        ([pb.LimitWindow(most=1)], {}, "policy.windows[0].span"),
        (
            [pb.LimitWindow(span={"seconds": 60})],
            {},
            "policy.windows[0].most",
        ),
        ([window(60, 1)], {"channel": "fax"}, "policy.channel"),
        ([window(367 * 86400, 1)], {}, "policy.windows[0].span"),
        ([window(60, 1)] * 9, {}, "policy.windows"),
        ([window(60, 1)], {"channel": "a b"}, "policy.channel"),
        ([window(60, 1)], {"on_failure": "maybe"}, "policy.on_failure"),
        ([window(60, 1)], {"policy_id": "other"}, "policy_id"),
    ],
)
async def test_a_policy_that_means_nothing_is_refused(shop, windows, fields, field):
    with pytest.raises(InvalidArgumentError) as refused:
        await put(shop, "p", *windows, **fields)
    assert refused.value.violations[0].field == field


async def test_policies_hold_at_once_and_say_which_channel_is_out(mesh, shop):
    await put(shop, "sms-cap", window(3600, 1), channel="sms")
    items = [item(f"r{n}", channels=["push", "sms"], type="otp") for n in range(2)]
    first, second = (
        await mesh.BatchAcquire(pb.BatchAcquireRequest(items=items))
    ).results
    assert (first.allowed, len(first.channels)) == (True, 0)
    assert second.allowed
    (refusal,) = second.channels
    assert (refusal.channel, refusal.exceeded) == ("sms", "hourly")
    assert refusal.policy_id == "sms-cap"
    assert refusal.HasField("available_time")
    usage = await shop.GetUsage(pb.GetUsageRequest(user_id="u1"))
    assert [(used.policy_id, used.used) for used in usage.windows] == [("sms-cap", 1)]
    released = await mesh.BatchRelease(
        pb.BatchReleaseRequest(items=[item("r0", channels=["sms"], type="otp")])
    )
    assert released.released == 1
    usage = await shop.GetUsage(pb.GetUsageRequest(user_id="u1"))
    assert usage.windows[0].used == 0
    assert usage.categories["promotional"].daily_used == 2


async def test_a_type_brings_its_own_windows_and_the_persons_limit(mesh):
    limits = pb.TypeLimits(windows=[window(60, 2)])
    limits.personal_limit.daily = 1
    items = [item(f"r{n}", type="otp", type_limits=limits) for n in range(2)]
    _, refused = (await mesh.BatchAcquire(pb.BatchAcquireRequest(items=items))).results
    assert not refused.allowed
    assert (refused.exceeded, refused.policy_id) == ("daily", "personal:otp")
    del items[0].type_limits.windows[:], items[1].type_limits.windows[:]
    assert (await mesh.BatchRelease(pb.BatchReleaseRequest(items=items))).released == 1
    items[1].type_limits.ClearField("personal_limit")
    items[1].type_limits.windows.append(window(60, 0))
    (none,) = (await mesh.BatchPeek(pb.BatchPeekRequest(items=items[1:]))).results
    assert (none.exceeded, none.policy_id) == ("window", "type:otp")


@pytest.mark.parametrize(
    ("limit", "policy_id"),
    [(None, "category:promotional"), (2, "personal:promotional")],
)
async def test_a_full_category_is_named(mesh, limit, policy_id):
    more = {} if limit is None else {"personal_limit": pb.FrequencyLimit(daily=limit)}
    answer = await mesh.BatchAcquire(batch(4, **more))
    assert answer.results[3].policy_id == policy_id
