from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from clarion.client.cli.bench import command

pytestmark = pytest.mark.integration


def found(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(command, [arguments[0], "--json", *arguments[1:]])
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return values


def test_escalation_tells_how_late_each_unread_one_went_on() -> None:
    values = found("escalation", "--count=20", "--after=1")
    assert (values["escalated"], values["early"]) == (20, 0)
    assert (values["lost"], values["duplicated"]) == (0, 0)
    assert values["late_ms"]["last"] > 0


def test_topics_counts_each_subscriber_once_though_the_router_is_killed() -> None:
    values = found("topics", "--count=3000")
    assert (values["lost"], values["duplicated"]) == (0, 0)
    assert values["killed_after_seconds"] > 0
    assert values["router_mib"]["after"] > 0
