from __future__ import annotations

from pathlib import Path

import pytest

from clarion.ratelimit.settings import Settings
from clarion.runtime.config import load, variables
from clarion.runtime.errors import ConfigError

README = Path(__file__).parents[1] / "README.md"


def test_every_setting_is_in_the_readme():
    text = README.read_text(encoding="utf-8")
    assert [name for name in variables(Settings).values() if name not in text] == []


def test_every_setting_has_a_working_default():
    assert load(Settings, {}) == Settings()


def test_a_setting_out_of_range_names_its_variable():
    with pytest.raises(ConfigError, match="CLARION_RATELIMIT_CHUNK"):
        load(Settings, {"CLARION_RATELIMIT_CHUNK": "0"})
