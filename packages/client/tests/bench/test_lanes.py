from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from clarion.client.cli.bench import command

pytestmark = pytest.mark.integration


def test_lanes_tells_what_it_found_as_one_line_of_json() -> None:
    sizes = ("--count=1000", "--seconds=1")
    result = CliRunner().invoke(command, ["lanes", "--json", *sizes])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["lost"], found["duplicated"]) == (0, 0)
    assert found["backlog_accepted"] == 1000
    assert found["backlog_left"] <= found["backlog_at_start"] <= 1000
    assert found["second_flood"] == 400
    assert 0 < found["second_flood_share"] <= 1
    assert found["high_p99_ratio"] > 0
    assert found["other_tenant_p99_ratio"] > 0
