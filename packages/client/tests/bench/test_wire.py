from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from clarion.client.cli.bench import command

pytestmark = pytest.mark.integration


def test_wire_tells_what_it_found_as_one_line_of_json() -> None:
    sizes = ("--rate=50", "--seconds=0.5", "--count=20", "--callers=2", "--users=100")
    result = CliRunner().invoke(command, ["wire", "--json", *sizes])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["lost"], found["duplicated"]) == (0, 0)
    assert found["per_second"] > 0
    assert found["accept_to_provider_ms"].keys() == {"p50", "p99"}
    assert found["unary"]["call_ms"].keys() == {"p50", "p99"}
    assert found["closed_loop"]["per_second"] > 0
