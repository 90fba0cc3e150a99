from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from clarion.client.cli.bench import command

pytestmark = pytest.mark.integration


def test_throughput_tells_what_it_found_as_one_line_of_json() -> None:
    sizes = ("--seconds", "0.5", "--users", "1000", "--calls", "1")
    result = CliRunner().invoke(command, ["throughput", "--json", *sizes])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["lost"], found["duplicated"]) == (0, 0)
    assert found["per_second"] > 0
    assert {"router", "push", "tracking", "nats", "postgres", "load"} <= set(
        found["by_process"]
    )
    assert found["cpu_us_per_notification"] > 0
