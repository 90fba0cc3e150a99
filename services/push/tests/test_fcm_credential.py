"""FCM's access token: kept, replaced early, fetched once at a time."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from clarion.push.providers.fcm_credential import AccessTokens
from clarion.push.providers.posting import CredentialError
from clarion.runtime.testing import FakeClock, wait_until


class Endpoint:
    """Gives out t1, t2 ...; fails while there is an error; waits for the gate."""

    def __init__(self) -> None:
        self.fetches = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> tuple[str, timedelta]:
        self.fetches += 1
        number = self.fetches
        assert self.gate.wait(5)
        if self.error is not None:
            raise self.error
        return f"t{number}", timedelta(hours=1)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tokens(endpoint: Endpoint, clock: FakeClock) -> AccessTokens:
    return AccessTokens(endpoint, clock)


def bearer(number: int) -> str:
    return f"authorization: Bearer t{number}"


async def test_many_that_need_a_token_share_one_fetch(
    tokens: AccessTokens, endpoint: Endpoint
) -> None:
    found = await asyncio.gather(*(tokens.authorization() for _ in range(20)))
    assert set(found) == {bearer(1)}
    assert endpoint.fetches == 1


async def test_a_token_that_ends_soon_is_replaced_without_waiting(
    tokens: AccessTokens, endpoint: Endpoint, clock: FakeClock
) -> None:
    await tokens.authorization()
    clock.advance(timedelta(minutes=56))
    endpoint.gate.clear()
    assert await tokens.authorization() == bearer(1)
    endpoint.gate.set()
    await tokens.close()
    assert await tokens.authorization() == bearer(2)


async def test_a_token_that_has_ended_is_waited_for(
    tokens: AccessTokens, clock: FakeClock
) -> None:
    await tokens.authorization()
    clock.advance(timedelta(hours=2))
    assert await tokens.authorization() == bearer(2)


async def test_a_refused_token_is_replaced_once(
    tokens: AccessTokens, endpoint: Endpoint, clock: FakeClock
) -> None:
    first = await tokens.authorization()
    both = await asyncio.gather(*(tokens.authorization(first) for _ in range(2)))
    assert both == [bearer(2)] * 2
    assert await tokens.authorization(first) == bearer(2)
    with pytest.raises(CredentialError) as refused:
        await tokens.authorization(bearer(2))
    assert not refused.value.transient
    clock.advance(timedelta(seconds=11))
    assert await tokens.authorization(bearer(2)) == bearer(3)


async def test_a_failed_fetch_is_not_repeated_at_once(
    tokens: AccessTokens, endpoint: Endpoint, clock: FakeClock
) -> None:
    endpoint.error = CredentialError("down", transient=True)
    for _ in range(3):
        with pytest.raises(CredentialError):
            await tokens.authorization()
    assert endpoint.fetches == 1
    assert tokens.problem == ""
    endpoint.error = None
    clock.advance(timedelta(seconds=2))
    assert await tokens.authorization() == bearer(2)


async def test_a_token_serves_while_its_replacement_fails(
    tokens: AccessTokens, endpoint: Endpoint, clock: FakeClock
) -> None:
    await tokens.authorization()
    clock.advance(timedelta(minutes=56))
    endpoint.error = CredentialError("refused", transient=False)
    assert await tokens.authorization() == bearer(1)
    await wait_until(lambda: tokens.problem)
    assert tokens.problem == "refused"
    assert await tokens.authorization() == bearer(1)


async def test_an_error_of_the_library_is_transient(
    tokens: AccessTokens, endpoint: Endpoint
) -> None:
    endpoint.error = ZeroDivisionError()
    with pytest.raises(CredentialError) as failed:
        await tokens.authorization()
    assert failed.value.transient
