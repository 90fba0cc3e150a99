from __future__ import annotations

from pathlib import Path

import pytest

from clarion.email.settings import Settings
from clarion.email.smtp_url import SmtpUrl
from clarion.runtime.config import load, variables
from clarion.runtime.errors import ConfigError

GOOD = {
    "CLARION_SMTP_URL": "smtp://u%40x:p%2Fw@mail.example:2525?starttls=true",
    "CLARION_EMAIL_FROM": "The Shop <shop@example.com>",
}
BAD = (
    ("CLARION_SMTP_URL", "http://mail.example", "is not the URL of a mail server"),
    ("CLARION_SMTP_URL", "smtp://", "is not the URL of a mail server"),
    ("CLARION_SMTP_URL", "smtp://host:port", "cannot be read"),
    ("CLARION_SMTP_URL", "smtp://host?tls=yes", "has an unknown option"),
    ("CLARION_SMTP_URL", "smtps://host?starttls=true", "smtps and starttls"),
    ("CLARION_EMAIL_FROM", "The Shop", "is no mail address"),
    ("CLARION_SMTP_POOL", "0", "give 1 to 500"),
    ("CLARION_SMTP_TIMEOUT_SECONDS", "0", "give seconds"),
)


def test_good_settings_are_taken_apart() -> None:
    settings = load(Settings, GOOD)
    assert settings.server == SmtpUrl(
        "mail.example", 2525, tls=False, starttls=True, username="u@x", password="p/w"
    )
    assert settings.sender.domain == "example.com"


@pytest.mark.parametrize(("name", "value", "problem"), BAD)
def test_a_bad_setting_is_named_with_its_remedy(
    name: str, value: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        load(Settings, GOOD | {name: value})
    assert name in str(raised.value)


def test_the_password_is_never_shown() -> None:
    settings = load(Settings, GOOD)
    assert "p/w" not in repr(settings) + repr(settings.server)
    with pytest.raises(ConfigError) as raised:
        load(Settings, GOOD | {"CLARION_SMTP_URL": "smpt://u:secret@host"})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "port"),
    [("smtp://h", 25), ("smtps://h", 465), ("smtp://h?starttls=1", 587)],
)
def test_ports_have_defaults(url: str, port: int) -> None:
    assert SmtpUrl.parse(url).port == port


def test_every_setting_is_in_the_readme() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    for variable in variables(Settings).values():
        assert f"`{variable}`" in readme
