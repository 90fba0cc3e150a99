from __future__ import annotations

import pytest

from clarion.ratelimit import in_memory
from clarion.ratelimit.limit_policy import MAX_POLICIES, LimitPolicy
from clarion.ratelimit.policy import MAX_OVERRIDES, PartialLimit, Policies
from clarion.ratelimit.valkey.policy_store import ValkeyPolicyStore
from clarion.ratelimit.window import HOUR, Window
from clarion.runtime.errors import PreconditionError


@pytest.fixture(
    params=["memory", pytest.param("valkey", marks=pytest.mark.integration)]
)
def store(request):
    if request.param == "memory":
        return in_memory.InMemoryPolicyStore()
    return ValkeyPolicyStore(request.getfixturevalue("redis"))


async def test_a_tenant_begins_with_the_built_in_limits(store):
    assert await store.get("t") == Policies()


@pytest.mark.parametrize(
    "limit", [PartialLimit(0, 5), PartialLimit(weekly=5), PartialLimit(daily=7)]
)
async def test_a_limit_is_kept_as_it_was_put(store, limit):
    await store.put("t", "news", PartialLimit(9, 9))
    await store.put("t", "news", limit)
    assert (await store.get("t")).overrides == {"news": limit}
    assert await store.get("other") == Policies()


async def test_a_limit_open_in_both_windows_is_removed(store):
    await store.put("t", "news", PartialLimit(1, 1))
    await store.put("t", "news", PartialLimit())
    await store.put("t", "news", PartialLimit())
    assert await store.get("t") == Policies()


async def test_a_tenant_sets_no_more_limits_than_allowed(store):
    for number in range(MAX_OVERRIDES):
        await store.put("t", f"c{number}", PartialLimit(1))
    with pytest.raises(PreconditionError):
        await store.put("t", "one-more", PartialLimit(1))
    await store.put("t", "c0", PartialLimit(2))


async def test_a_scoped_policy_is_kept_as_it_was_put(store):
    second = LimitPolicy("b", "news", "a", "sms", (Window(HOUR, 3, "b"),), "closed")
    first = LimitPolicy("a", on_failure="open")
    for policy in (second._replace(on_failure=""), second, first):
        await store.put_scoped("t", policy)
    await store.put("t", "news", PartialLimit(1, 1))
    kept = await store.get("t")
    assert kept.scoped == (first, second)
    assert kept.overrides == {"news": PartialLimit(1, 1)}
    assert (await store.get("other")).scoped == ()
    assert await store.delete_scoped("t", "b")
    assert not await store.delete_scoped("t", "b")
    assert (await store.get("t")).scoped == (first,)


async def test_a_tenant_has_no_more_scoped_policies_than_allowed(store):
    for number in range(MAX_POLICIES):
        await store.put_scoped("t", LimitPolicy(f"p{number}", on_failure="open"))
    with pytest.raises(PreconditionError):
        await store.put_scoped("t", LimitPolicy("more", on_failure="open"))
    await store.put_scoped("t", LimitPolicy("p0", on_failure="closed"))
