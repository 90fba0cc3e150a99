"""Both providers against the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.accounts import Accounts
from clarion.push.settings import Settings
from clarion.runtime.config import Secret
from clarion.runtime.delivery import OutcomeKind, Provider
from clarion.runtime.errors import ConfigError
from clarion.runtime.http.trust import Trust
from clarion.sandbox.testing import RunningSandbox

REFUSAL: dict[str, Any] = {
    "fcm": {"status": 401},
    "apns": {"code": "ExpiredProviderToken"},
}

MakeJob = Callable[..., DeliveryJob]
SENT, RETRY = OutcomeKind.SENT, OutcomeKind.RETRY
FAILED, UNKNOWN = OutcomeKind.FAILED, OutcomeKind.UNKNOWN


def rule(name: str, recipient: str = "", times: int = 0, **action: Any) -> Any:
    match = {"provider": name} | ({"recipient": recipient} if recipient else {})
    return {"match": match, "action": action} | ({"times": times} if times else {})


async def test_messages_arrive_with_their_ids_and_data(
    provider: Provider, sandbox: RunningSandbox, make_job: MakeJob, outcomes: Any
) -> None:
    jobs = [make_job(f"t{n}", data={"count": 20, "sum": 99.99}) for n in range(300)]
    results = await outcomes.of(provider, *jobs)
    assert {result.kind for result in results} == {SENT}
    assert all(result.provider_message_id and result.latency for result in results)
    arrived = await sandbox.arrivals()
    assert sorted(d for _, d, _, _ in arrived) == sorted(j.delivery_id for j in jobs)
    (message,) = await sandbox.messages(recipient="t7")
    text = str(message)
    assert "99.99" in text
    assert "20.0" not in text


async def test_a_dead_token_fails_for_good(
    provider: Provider, sandbox: RunningSandbox, make_job: MakeJob, outcomes: Any
) -> None:
    await sandbox.script([rule(provider.name, "dead-*", unregistered=True)])
    dead, alive = await outcomes.of(provider, make_job("dead-1"), make_job("alive"))
    assert (dead.kind, dead.reason, dead.suppress) == (
        *(FAILED, "unregistered_token"),
        "unregistered",
    )
    assert alive.kind is SENT


@pytest.mark.parametrize(
    ("action", "kind", "reason"),
    [
        ({"status": 429, "retry_after": 7}, RETRY, "rate_limited"),
        ({"status": 500}, RETRY, "provider_unavailable"),
        ({"status": 503, "body": ""}, RETRY, "provider_unavailable"),
        ({"status": 400, "body": {"odd": 1}}, FAILED, "invalid_payload"),
    ],
    ids=["limited", "internal", "empty", "odd"],
)
async def test_a_refusal_is_told_as_such(
    provider: Provider,
    sandbox: RunningSandbox,
    make_job: MakeJob,
    outcomes: Any,
    action: dict[str, Any],
    kind: OutcomeKind,
    reason: str,
) -> None:
    await sandbox.script([rule(provider.name, **action)])
    (outcome,) = await outcomes.of(provider, make_job())
    assert (outcome.kind, outcome.reason) == (kind, reason)
    if "retry_after" in action:
        assert outcome.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("name", "code", "kind", "reason"),
    [
        ("fcm", "INVALID_ARGUMENT", FAILED, "invalid_token"),
        ("fcm", "SENDER_ID_MISMATCH", FAILED, "sender_id_mismatch"),
        ("fcm", "THIRD_PARTY_AUTH_ERROR", RETRY, "provider_misconfigured"),
        ("fcm", "QUOTA_EXCEEDED", RETRY, "rate_limited"),
        ("apns", "BadDeviceToken", FAILED, "invalid_token"),
        ("apns", "ExpiredToken", FAILED, "unregistered_token"),
        ("apns", "InvalidProviderToken", RETRY, "provider_misconfigured"),
        ("apns", "TooManyRequests", RETRY, "rate_limited"),
    ],
)
async def test_a_provider_code_has_its_outcome(
    accounts: Accounts,
    sandbox: RunningSandbox,
    make_job: MakeJob,
    outcomes: Any,
    name: str,
    code: str,
    kind: OutcomeKind,
    reason: str,
) -> None:
    await sandbox.script([rule(name, code=code)])
    (provider,) = (p for p in accounts.providers if p.name == name)
    (outcome,) = await outcomes.of(provider, make_job())
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert outcome.provider_code == code


async def test_a_hang_up_after_acceptance_is_unknown_and_not_repeated(
    provider: Provider, sandbox: RunningSandbox, make_job: MakeJob, outcomes: Any
) -> None:
    await outcomes.of(provider, make_job("first"))
    await sandbox.script([rule(provider.name, "lost", hang_up="after")])
    (outcome,) = await outcomes.of(provider, make_job("lost"))
    assert (outcome.kind, outcome.reason) == (UNKNOWN, "no_answer")
    assert len(await sandbox.messages(recipient="lost")) == 1
    (outcome,) = await outcomes.of(provider, make_job("next"))
    assert outcome.kind is SENT


async def test_an_answer_that_is_late_is_unknown(
    settings: Settings,
    open_accounts: Callable[..., Accounts],
    sandbox: RunningSandbox,
    make_job: MakeJob,
    outcomes: Any,
) -> None:
    accounts = open_accounts(settings, push_timeout=timedelta(milliseconds=300))
    await sandbox.script([rule("fcm", "slow", delay_ms=5_000)])
    slow, quick = await outcomes.of(accounts.fcm, make_job("slow"), make_job("quick"))
    assert (slow.kind, slow.reason) == (UNKNOWN, "timeout")
    assert quick.kind is SENT


async def test_a_delay_is_waited_for(
    provider: Provider, sandbox: RunningSandbox, make_job: MakeJob, outcomes: Any
) -> None:
    await sandbox.script([rule(provider.name, "slow", delay_ms=100)])
    (outcome,) = await outcomes.of(provider, make_job("slow"))
    assert outcome.kind is SENT
    assert outcome.latency >= timedelta(milliseconds=100)


async def test_a_provider_that_is_down_is_tried_later(
    settings: Settings,
    open_accounts: Callable[..., Accounts],
    make_job: MakeJob,
    outcomes: Any,
) -> None:
    accounts = open_accounts(
        settings, fcm_url="https://127.0.0.1:1", apns_url="https://127.0.0.1:1"
    )
    for provider in accounts.providers:
        (outcome,) = await outcomes.of(provider, make_job())
        assert (outcome.kind, outcome.reason) == (RETRY, "provider_unavailable")
        assert outcome.provider_code == "couldnt_connect"


async def test_a_server_that_nobody_vouches_for_gets_nothing(
    settings: Settings,
    open_accounts: Callable[..., Accounts],
    sandbox: RunningSandbox,
    make_job: MakeJob,
    outcomes: Any,
) -> None:
    accounts = open_accounts(settings, push_ca_file=None)
    assert accounts.apns is not None
    (outcome,) = await outcomes.of(accounts.apns, make_job())
    assert outcome.kind is RETRY
    assert outcome.provider_code == "peer_failed_verification"
    assert await sandbox.arrivals() == []


async def test_fcm_speaks_plain_http_where_the_url_says_so(
    settings: Settings,
    open_accounts: Callable[..., Accounts],
    sandbox: RunningSandbox,
    make_job: MakeJob,
    outcomes: Any,
) -> None:
    accounts = open_accounts(settings, fcm_url=sandbox.fcm_url)
    results = await outcomes.of(accounts.fcm, *(make_job(f"t{n}") for n in range(200)))
    assert {result.kind for result in results} == {SENT}
    assert len(await sandbox.arrivals()) == 200


async def test_a_credential_refused_once_is_renewed_and_the_message_sent(
    provider: Provider, sandbox: RunningSandbox, make_job: MakeJob, outcomes: Any
) -> None:
    refusal = REFUSAL[provider.name]
    await sandbox.script([rule(provider.name, times=3, **refusal)])
    results = await outcomes.of(provider, *(make_job(f"t{n}") for n in range(5)))
    assert [result.kind for result in results] == [SENT] * 5
    assert len(await sandbox.arrivals()) == 5


async def test_a_credential_refused_for_ever_waits_for_the_settings(
    provider: Provider, sandbox: RunningSandbox, make_job: MakeJob, outcomes: Any
) -> None:
    refusal = REFUSAL[provider.name]
    await sandbox.script([rule(provider.name, **refusal)])
    for _ in range(2):
        (outcome,) = await outcomes.of(provider, make_job())
        assert (outcome.kind, outcome.reason) == (RETRY, "provider_misconfigured")


async def test_a_service_account_that_google_refuses_makes_fcm_unready(
    settings: Settings,
    open_accounts: Callable[..., Accounts],
    make_job: MakeJob,
    outcomes: Any,
) -> None:
    assert settings.fcm_credentials is not None
    account = settings.fcm_credentials.reveal().replace(
        '"client_email": "', '"client_email": "not-'
    )
    assert account != settings.fcm_credentials.reveal()
    accounts = open_accounts(settings, fcm_credentials=Secret(account))
    (outcome,) = await outcomes.of(accounts.fcm, make_job())
    assert (outcome.kind, outcome.reason) == (RETRY, "provider_misconfigured")
    with pytest.raises(ConfigError):
        await accounts.fcm.check()


async def test_ios_goes_to_apns_and_all_else_to_fcm(
    accounts: Accounts, make_job: MakeJob
) -> None:
    chosen = {
        platform: accounts.choose(make_job(platform=platform)).name
        for platform in ("ios", "android", "web", "")
    }
    assert chosen == {"ios": "apns", "android": "fcm", "web": "fcm", "": "fcm"}


async def test_ios_goes_to_fcm_where_apns_is_not_configured(
    settings: Settings, open_accounts: Callable[..., Accounts], make_job: MakeJob
) -> None:
    accounts = open_accounts(settings, apns_key=None)
    assert accounts.choose(make_job(platform="ios")).name == "fcm"
    await accounts.fcm.check()


async def test_what_is_not_configured_fails_for_good(
    settings: Settings,
    open_accounts: Callable[..., Accounts],
    make_job: MakeJob,
    outcomes: Any,
) -> None:
    accounts = open_accounts(settings, fcm_credentials=None)
    (outcome,) = await outcomes.of(accounts.fcm, make_job())
    assert (outcome.kind, outcome.reason) == (FAILED, "provider_not_configured")
    await accounts.fcm.check()
    nothing = open_accounts(settings, fcm_credentials=None, apns_key=None)
    with pytest.raises(ConfigError, match="neither FCM nor APNs"):
        await nothing.fcm.check()


def test_the_joined_trust_file_is_removed(tmp_path: Path) -> None:
    extra = tmp_path / "extra.pem"
    extra.write_text("EXTRA")
    trust = Trust(extra)
    assert Path(trust.path).read_text().startswith("EXTRA\n")
    trust.close()
    assert not Path(trust.path).exists()
    assert extra.exists()
