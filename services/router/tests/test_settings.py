from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from clarion.router.settings import Settings
from clarion.runtime.config import load
from clarion.runtime.errors import ConfigError

README = Path(__file__).parent.parent / "README.md"


def test_every_setting_has_a_default_that_works() -> None:
    settings = load(Settings, {})
    assert settings.channel_names() == ("push", "email", "sms", "in_app")
    assert settings.idempotency_patience <= timedelta(milliseconds=150)


@pytest.mark.parametrize("channels", ["push,fax", " , "])
def test_a_channel_that_has_no_queue_is_refused_at_start(channels: str) -> None:
    with pytest.raises((ConfigError, ValueError), match="CLARION_CHANNELS"):
        load(Settings, {"CLARION_CHANNELS": channels})


def test_every_setting_is_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    for name, value in Settings.__dataclass_fields__.items():
        suffix = "_SECONDS" if "timedelta" in str(value.type) else ""
        assert f"`CLARION_{name.upper()}{suffix}`" in text
