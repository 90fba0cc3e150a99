from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from click.testing import CliRunner

from clarion.client.cli.bench import command

pytestmark = pytest.mark.integration


def test_peers_tell_what_they_found_as_one_line_of_json() -> None:
    sizes = ("--seconds=0.5", "--count=20", "--users=100", "--window=100")
    result = CliRunner().invoke(command, ["peers", "--json", *sizes])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    for name in ("mesh", "celery", "mesh_wire", "celery_apprise"):
        assert found[name]["per_second"] > 0, name
        assert found[name]["latency_ms"].keys() == {"p50", "p99"}, name
    for name in ("mesh_over_celery", "mesh_over_celery_apprise"):
        assert found[name].keys() == {"per_second", "p99"}, name
    assert (found["celery"]["lost"], found["celery_apprise"]["lost"]) == (0, 0)


def test_peers_say_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_celery(name: str, *arguments: Any) -> Any:
        return None if name == "celery" else find(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", without_celery)
    result = CliRunner().invoke(command, ["peers"])
    assert result.exit_code == 1
    assert "pip install 'clarion-client[bench]'" in result.output
