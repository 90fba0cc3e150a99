from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from clarion.recipients.queries import QUERIES
from clarion.recipients.settings import Settings
from clarion.runtime.config import load, variables
from clarion.runtime.errors import ConfigError

SERVICE = Path(__file__).parents[1]


EVERYBODYS = {
    "page_of_all_suppressions",
    "take_turn_with_defaults",
    "changed_default_preferences",
}


def test_settings_have_working_defaults() -> None:
    assert load(Settings, {}) == Settings(timedelta(minutes=5))


def test_a_cache_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="CLARION_PROFILE_TTL_SECONDS"):
        load(Settings, {"CLARION_PROFILE_TTL_SECONDS": "0"})


def test_every_setting_is_in_the_readme() -> None:
    readme = (SERVICE / "README.md").read_text()
    assert [v for v in variables(Settings).values() if f"`{v}`" not in readme] == []


def test_every_statement_is_used_and_asks_for_the_tenant() -> None:
    sources = "".join(path.read_text() for path in (SERVICE / "src").rglob("*.py"))
    for name, statement in QUERIES.items():
        assert f'"{name}"' in sources, name
        assert name in EVERYBODYS or b"%(tenant)s" in statement, name
