from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clarion.api.ratelimit.v1 import rate_limit_service_pb2 as pb
from clarion.runtime.caller import as_tenant
from clarion.runtime.errors import (
    InvalidArgumentError,
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
