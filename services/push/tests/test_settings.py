"""Settings, and the README's table of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clarion.push.settings import Settings
from clarion.runtime.config import load, variables
from clarion.runtime.errors import ConfigError

ACCOUNT = {
    "client_email": "a@b",
    "private_key": "k",
    "token_uri": "https://x",
    "project_id": "shop",
}


@pytest.fixture
def account_file(tmp_path: Path) -> Path:
    path = tmp_path / "account.json"
    path.write_text(json.dumps(ACCOUNT))
    return path


def test_nothing_has_to_be_set() -> None:
    settings = load(Settings, {})
    assert settings.fcm_credentials is None
    assert settings.apns_key is None


def test_a_topic_alone_configures_nothing() -> None:
    assert load(Settings, {"CLARION_APNS_TOPIC": "com.example"}).apns_key is None


def test_the_project_is_the_accounts_unless_one_is_given(account_file: Path) -> None:
    environ = {"CLARION_FCM_CREDENTIALS_FILE": str(account_file)}
    assert load(Settings, environ).project() == "shop"
    assert load(Settings, environ | {"CLARION_FCM_PROJECT": "p"}).project() == "p"


def test_a_key_is_not_shown(account_file: Path) -> None:
    settings = load(Settings, {"CLARION_FCM_CREDENTIALS_FILE": str(account_file)})
    assert "private" not in repr(settings)


WRONG = [
    ({"CLARION_FCM_CREDENTIALS_FILE": "{empty}"}, ["CLARION_FCM_CREDENTIALS_FILE"]),
    (
        {"CLARION_APNS_KEY_FILE": "{empty}"},
        ["CLARION_APNS_KEY_ID", "CLARION_APNS_TEAM_ID", "CLARION_APNS_TOPIC"],
    ),
    ({"CLARION_PUSH_CA_FILE": "/none"}, ["CLARION_PUSH_CA_FILE"]),
    ({"CLARION_PUSH_IN_FLIGHT": "0"}, ["CLARION_PUSH_IN_FLIGHT"]),
    ({"CLARION_FCM_URL": "fcm:443"}, ["CLARION_FCM_URL"]),
]


@pytest.mark.parametrize(("environ", "named"), WRONG)
def test_what_is_wrong_is_named(
    environ: dict[str, str], named: list[str], tmp_path: Path
) -> None:
    (tmp_path / "empty.json").write_text("{}")
    filled = {k: v.format(empty=tmp_path / "empty.json") for k, v in environ.items()}
    with pytest.raises(ConfigError) as wrong:
        load(Settings, filled)
    assert all(name in str(wrong.value) for name in named)


def test_the_readme_lists_every_setting() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    missing = [v for v in variables(Settings).values() if f"`{v}`" not in readme]
    assert missing == []
