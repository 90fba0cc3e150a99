from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from clarion.client.cli.bench import command

pytestmark = pytest.mark.integration


def test_schedules_tells_what_it_found_as_one_line_of_json() -> None:
    sizes = ("--count=100", "--due=0", "--seconds=1")
    result = CliRunner().invoke(command, ["schedules", "--json", *sizes])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["lost"], found["duplicated"], found["early"]) == (0, 0, 0)
    assert found["pending"] == 100
    assert found["release_p99_ratio"] > 0
