from __future__ import annotations

import inspect
import json

import pytest
from click.testing import CliRunner

from clarion.client.bench import floor, growth, memory
from clarion.client.bench.mesh import Mesh
from clarion.client.bench.registry import BENCHES, load
from clarion.client.cli.bench import command, defaults_of

pytestmark = pytest.mark.integration


async def test_floor_growth_and_memory_tell_what_they_found() -> None:
    async with Mesh(100, tenants=2) as mesh:
        grown = (await growth.measure(mesh, most=100, count=100)).values
        floored = await floor.measure(mesh, seconds=0.5, count=200, chunk=100, batch=50)
        held = (await memory.measure(mesh, seconds=0.5, rest=0, batch=50)).values
    assert grown["ratio"].keys() == {"queued", "recipients", "tenants"}
    assert grown["cpu_us_per_notification"]["queued"].keys() == {"1", "10", "100"}
    assert grown["lost"] == 0
    assert floored.values["mesh_over_floor"] > 0
    assert floored.values["floor_by_process"].keys() == {
        "load",
        "nats",
        "valkey",
        "postgres",
    }
    assert held["by_process"]["deciding"].keys() == {"idle", "loaded", "after"}
    assert held["idle_mib"] > 0


def test_backpressure_tells_what_it_found_as_one_line_of_json() -> None:
    sizes = ("--seconds=1", "--users=100", "--queue-kib=128")
    result = CliRunner().invoke(command, ["backpressure", "--json", *sizes])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["lost"], found["duplicated"]) == (0, 0)
    assert found["refused_with_wait"] == found["refused"]
    assert found["accept_to_sink_ms"].keys() == {"p50", "p99"}


def test_tracing_tells_what_it_found_as_one_line_of_json() -> None:
    sizes = ("--seconds=0.5", "--turns=1", "--percent=100", "--users=100")
    result = CliRunner().invoke(command, ["tracing", "--json", *sizes])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["traced_over_metrics"] > 0
    assert found["metrics_over_none"] > 0
    assert found["spans_per_notification"] > 1
    assert found["by_process"].keys() == {"none", "metrics", "traced"}


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_explains_itself(name: str) -> None:
    result = CliRunner().invoke(command, [name, "--help"])
    assert result.exit_code == 0
    assert (load(name).run.__doc__ or "").split("\n")[0] in result.output


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_has_usable_defaults(name: str) -> None:
    wanted = inspect.signature(load(name).run).parameters
    found = defaults_of(name)
    assert found.keys() == wanted.keys()
    assert "UNSET" not in repr(found)
