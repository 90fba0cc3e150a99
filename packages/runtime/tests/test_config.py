"""Settings from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest

from clarion.runtime.config import Secret, load, load_all, variables
from clarion.runtime.errors import ConfigError
from clarion.runtime.settings import RuntimeSettings


@dataclass(frozen=True, slots=True)
class Settings:
    sender: str
    auth_token: Secret
    workers: int = 4
    share: float = 0.5
    shadow: bool = False
    mode: Literal["fast", "safe"] = "safe"
    poll: timedelta = timedelta(seconds=1)
    folder: Path | None = None
    hosts: tuple[str, ...] = ()


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    return path


def test_every_type_is_read(token_file, tmp_path):
    settings = load(
        Settings,
        {
            "CLARION_SENDER": "Clarion",
            "CLARION_AUTH_TOKEN_FILE": str(token_file),
            "CLARION_WORKERS": "8",
            "CLARION_SHARE": "0.25",
            "CLARION_SHADOW": "true",
            "CLARION_MODE": "fast",
            "CLARION_POLL_SECONDS": "2.5",
            "CLARION_FOLDER": str(tmp_path),
            "CLARION_HOSTS": "a:1, b:2",
        },
    )

    assert settings == Settings(
        "Clarion",
        Secret("s3cret"),
        8,
        0.25,
        True,
        "fast",
        timedelta(seconds=2.5),
        tmp_path,
        ("a:1", "b:2"),
    )


def test_an_empty_variable_counts_as_unset(token_file):
    environ = {
        "CLARION_SENDER": "x",
        "CLARION_AUTH_TOKEN_FILE": str(token_file),
        "CLARION_WORKERS": "",
    }

    assert load(Settings, environ).workers == 4


def test_all_problems_are_told_at_once_with_variable_and_remedy():
    environ = {
        "CLARION_AUTH_TOKEN_FILE": "/nowhere",
        "CLARION_WORKERS": "many",
        "CLARION_SHADOW": "perhaps",
        "CLARION_MODE": "slow",
        "CLARION_POLL_SECONDS": "-1",
    }

    with pytest.raises(ConfigError) as caught:
        load(Settings, environ)

    assert caught.value.problems == (
        "CLARION_SENDER is not set: give a text",
        "CLARION_AUTH_TOKEN_FILE names no readable file: give the path of one",
        "CLARION_WORKERS is not a whole number: give one, such as 5",
        "CLARION_SHADOW is not a truth value: give true or false",
        "CLARION_MODE is not known: give one of fast, safe",
        "CLARION_POLL_SECONDS is negative: give seconds, 0 or more",
    )


def test_problems_of_several_classes_come_together(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_all([RuntimeSettings, Settings], {"CLARION_LISTEN": "nohost"})

    assert len(caught.value.problems) == 3
    assert "CLARION_API_KEYS_FILE" in caught.value.problems[0]


def test_a_rule_of_the_class_itself_is_a_problem(tmp_path):
    environ = {"CLARION_LISTEN": "nowhere", "CLARION_API_KEYS_FILE": str(tmp_path)}

    with pytest.raises(ConfigError, match="CLARION_LISTEN has no port"):
        load(RuntimeSettings, environ)


def test_a_secret_is_never_printed():
    secret = Secret("s3cret")

    assert "s3cret" not in f"{secret} {secret!r} {[secret]}"


def test_urls_with_passwords_are_not_in_the_repr(tmp_path):
    settings = RuntimeSettings(tmp_path, postgres_url="postgres://u:hunter2@h/d")

    assert "hunter2" not in repr(settings)


def test_variables_say_their_unit():
    assert variables(RuntimeSettings)["drain"] == "CLARION_DRAIN_SECONDS"
    assert variables(RuntimeSettings)["service_key"] == "CLARION_SERVICE_KEY_FILE"


def test_every_runtime_setting_is_documented():
    page = Path(__file__).parents[3] / "docs" / "config.md"
    text = page.read_text(encoding="utf-8")

    assert [v for v in variables(RuntimeSettings).values() if v not in text] == []


def test_a_missing_neighbour_names_its_variable(tmp_path):
    with pytest.raises(ConfigError, match="CLARION_RECIPIENTS_TARGET"):
        RuntimeSettings(tmp_path).target("recipients")
