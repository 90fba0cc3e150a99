from __future__ import annotations

from pathlib import Path

import pytest

from clarion.runtime.config import load, variables
from clarion.runtime.errors import ConfigError
from clarion.sms.settings import Settings

BAD = (
    ("CLARION_TWILIO_ACCOUNT_SID", "SK1", "is no account"),
    ("CLARION_TWILIO_FROM", "no such sender", "is no sender"),
    ("CLARION_TWILIO_URL", "api.twilio.com", "is no URL"),
    ("CLARION_PUBLIC_URL", "ftp://mesh", "is no URL"),
    ("CLARION_PUBLIC_URL", "https://mesh/?x=1", "has a query"),
    ("CLARION_TWILIO_TENANTS", "+15005550006", "has a wrong entry"),
    ("CLARION_TWILIO_TENANTS", "*=No Tenant", "has a wrong entry"),
    ("CLARION_TWILIO_CONNECTIONS", "0", "give 1 to 1000"),
    ("CLARION_TWILIO_CONNECT_TIMEOUT_SECONDS", "20", "less than"),
    ("CLARION_SMS_MAX_SEGMENTS", "0", "give 1 or more"),
)


@pytest.fixture
def good(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text("secret-token\n")
    return {
        "CLARION_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "CLARION_TWILIO_AUTH_TOKEN_FILE": str(tmp_path / "token"),
        "CLARION_TWILIO_FROM": "+15005550006",
        "CLARION_PUBLIC_URL": "https://mesh.example.com",
    }


def test_good_settings_have_defaults(good: dict[str, str]) -> None:
    settings = load(Settings, good)
    assert settings.twilio_url == "https://api.twilio.com"
    assert settings.tenants == {"*": "demo"}
    assert settings.twilio_auth_token.reveal() == "secret-token"
    assert "secret-token" not in repr(settings)


def test_numbers_and_accounts_have_tenants(good: dict[str, str]) -> None:
    given = {"CLARION_TWILIO_TENANTS": "+15005550006=shop, AC1=bank"}
    settings = load(Settings, good | given)
    assert settings.tenants == {"+15005550006": "shop", "AC1": "bank"}


@pytest.mark.parametrize(("name", "value", "problem"), BAD)
def test_a_bad_setting_is_named_with_its_remedy(
    good: dict[str, str], name: str, value: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        load(Settings, good | {name: value})
    assert name in str(raised.value)


def test_the_readme_lists_every_setting() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    missing = [name for name in variables(Settings).values() if name not in readme]
    assert not missing
