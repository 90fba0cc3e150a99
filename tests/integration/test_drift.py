"""What is written down in two places says the same in both."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from clarion.api.common.v1.error_reason_pb2 import ErrorReason
from clarion.runtime.config import variables
from clarion.runtime.error_catalog import CATALOG, PRODUCED_ELSEWHERE
from clarion.runtime.settings import RuntimeSettings
from clarion.runtime.streams import (
    ADV,
    CHANNELS,
    DIGEST,
    DLQ,
    EVENTS,
    FLOWS,
    INTAKE,
    LANES,
    SCHED,
    durable_name,
    durables,
    parts_of,
    streams,
)
from clarion.tracking.summaries import REASONS

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
SOURCES = [
    path
    for folder in ("services/*/src", "packages/*/src", "sandbox/src")
    for src in ROOT.glob(folder)
    # The contracts are generated.
    if src.parent.name != "contracts"
    for path in sorted(src.rglob("*.py"))
]
MOST_LINES = 400
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager"}
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# Written to a terminal by what a person started there.
MAY_PRINT = ("packages/client/src/clarion/client/",)
CHANNEL_OF = {"inapp": "in_app"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _readme(service: str) -> str:
    return (ROOT / "services" / service / "README.md").read_text()


def _edge_tool() -> ModuleType:
    path = ROOT / "tools/generate_edge.py"
    spec = importlib.util.spec_from_file_location("generate_edge", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def _calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node


# Streams


def _wiring(service: str) -> str:
    module = f"clarion/{service}"
    folder = ROOT / "services" / service / "src" / module
    return "\n".join(path.read_text() for path in folder.rglob("*.py"))


def test_every_durable_has_a_consumer_in_a_service():
    names = {durable.name for durable in durables()}
    consumed: set[str] = set()
    router = _wiring("router")
    if re.search(r"durable=durable_name\(INTAKE, part\)", router):
        parts = [part for flow in FLOWS for part in parts_of(INTAKE, flow)]
        consumed |= {durable_name(INTAKE, part) for part in parts}
    if re.search(r"durable=durable_name\(DIGEST, lane\)", router):
        consumed |= {durable_name(DIGEST, lane) for lane in LANES}
    for service in SERVICES:
        channel = CHANNEL_OF.get(service, service)
        if channel in CHANNELS and "add_channel(" in _wiring(service):
            parts = [part for flow in FLOWS for part in parts_of(channel, flow)]
            consumed |= {durable_name(channel, part) for part in parts}
    if "TRACKING_DURABLE" in _wiring("tracking"):
        consumed.add("tracking")
    workers = [one for one in SERVICES if "AdvisoryWorker" in _wiring(one)]
    runtime = (ROOT / "packages/runtime/src/clarion/runtime/service.py").read_text()
    if workers or "AdvisoryWorker" in runtime:
        consumed.add("dead-letters")
    assert names - consumed == set()


def test_every_stream_is_fed_or_read_by_a_durable():
    read = {durable.stream for durable in durables()}
    # Dead letters wait for a person.
    assert {spec.name for spec in streams()} - read == {DLQ}
    assert {SCHED, EVENTS, ADV} <= read


def test_streams_are_all_documented():
    text = (ROOT / "docs/streams.md").read_text()
    assert [spec.name for spec in streams() if f"| `{spec.name}` |" not in text] == []


# Decisions


def test_every_reason_of_a_decision_is_explained_in_words():
    deciding = _readme("router").partition("\n## Deciding\n")[2]
    table = deciding.partition("\n## ")[0].partition("| rule |")[2].partition("\n\n")[0]
    cells = [line.split("|")[3] for line in table.splitlines()[2:]]
    reasons = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert {"channel_disabled", "quiet_hours", "render_failed"} <= reasons
    assert reasons - set(REASONS) == set()


# Errors


def test_every_error_reason_is_in_the_catalog_and_documented():
    prefix = "ERROR_REASON_"
    reasons = {name.removeprefix(prefix) for name in ErrorReason.keys()}  # noqa: SIM118
    produced = {entry.reason for entry in CATALOG.values()}
    assert reasons == produced | set(PRODUCED_ELSEWHERE)
    text = (ROOT / "docs/errors.md").read_text()
    undocumented = [reason for reason in produced if f"| {reason} |" not in text]
    assert undocumented == []


# Settings


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_service_is_in_its_readme(service: str):
    settings = importlib.import_module(f"clarion.{service}.settings").Settings
    text = _readme(service)
    missing = [name for name in variables(settings).values() if f"`{name}`" not in text]
    assert missing == []


def test_every_shared_setting_is_documented():
    text = (ROOT / "docs/config.md").read_text()
    missing = [
        name for name in variables(RuntimeSettings).values() if f"`{name}`" not in text
    ]
    assert missing == []


@pytest.mark.parametrize("service", SERVICES)
def test_readme_of_a_service_says_its_rpcs_and_how_it_fails(service: str):
    text = _readme(service)
    served = set(re.findall(r"\badd_(\w+Service)Servicer_to_server", _wiring(service)))
    if "add_channel(" in _wiring(service):
        served.add("ChannelService")
    assert [name for name in sorted(served) if name not in text] == []
    for heading in ("## Settings", "## How it fails"):
        assert heading in text


# The edge


def _edge() -> str:
    return (ROOT / "edge/envoy.yaml").read_text()


def test_edge_transcodes_every_service_with_rest_paths():
    tool = _edge_tool()
    annotated = {
        method.containing_service.full_name
        for method in tool.methods()
        if tool.http_rules(method)
    }
    listed = set(re.findall(r"^ +- (clarion\.api\.\S+Service)$", _edge(), re.MULTILINE))
    assert annotated - listed == set()
    known = {method.containing_service.full_name for method in tool.methods()}
    assert listed - known == set()


def test_edge_has_a_route_for_every_rpc():
    prefixes = re.findall(r'match: \{prefix: "(/clarion[^"]*)"', _edge())
    for method in _edge_tool().methods():
        path = f"/{method.containing_service.full_name}/{method.name}"
        assert any(path.startswith(prefix) for prefix in prefixes), path


def test_request_schema_of_the_edge_is_up_to_date():
    rendered = _edge_tool().render()
    assert (ROOT / "edge/request_schema.lua").read_text() == rendered


def test_edge_ignores_no_query_parameter_that_an_rpc_has():
    found = re.search(r"ignored_query_parameters: \[([^\]]*)\]", _edge())
    assert found
    ignored = {name.strip() for name in found[1].split(",")}
    tool = _edge_tool()
    for method in tool.methods():
        for verb, path, body in tool.http_rules(method):
            if verb != "GET" and body:
                continue
            fields = {field.name for field in method.input_type.fields}
            in_query = fields - set(re.findall(r"\{(\w+)", path))
            assert not ignored & in_query, f"{verb} {path}"


def test_every_error_reason_of_the_edge_is_a_known_one():
    prefix = "ERROR_REASON_"
    reasons = {name.removeprefix(prefix) for name in ErrorReason.keys()}  # noqa: SIM118
    used = set(re.findall(r"reason: ([A-Z_]+),", _edge()))
    lua = (ROOT / "edge/request_check.lua").read_text()
    used |= set(re.findall(r'"reason":"([A-Z_]+)"', lua))
    assert used
    assert used <= reasons


# Style


def test_no_module_is_longer_than_it_may_be():
    long = {_name(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: n for name, n in long.items() if n > MOST_LINES} == {}


def test_no_module_has_a_name_that_says_nothing():
    assert [_name(path) for path in SOURCES if path.stem in FORBIDDEN_NAMES] == []


def test_every_module_has_a_docstring_and_absolute_imports():
    wrong = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        relative = any(
            isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree)
        )
        if relative or not ast.get_docstring(tree):
            wrong.append(_name(path))
    assert wrong == []


def test_errors_are_raised_and_never_set_on_a_context():
    wrong = [
        f"{_name(path)}:{call.lineno}"
        for path in SOURCES
        # The one interceptor that turns errors into statuses; the sandbox has no gRPC.
        if not _name(path).endswith("interceptors/errors.py")
        if not _name(path).startswith("sandbox/")
        for call in _calls(path)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in {"abort", "abort_with_status", "set_code", "set_details"}
        # Connections are aborted as well.
        and "context" in ast.unparse(call.func.value)
    ]
    assert wrong == []


def test_nothing_prints_but_what_a_person_started():
    wrong = [
        f"{_name(path)}:{call.lineno}"
        for path in SOURCES
        if not _name(path).startswith(MAY_PRINT)
        for call in _calls(path)
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]
    assert wrong == []


def test_log_lines_are_constant_messages():
    wrong = []
    for path in SOURCES:
        for call in _calls(path):
            if not (
                isinstance(call.func, ast.Attribute)
                and call.func.attr in LOG_METHODS
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id
                in {"logger", "_log", "log", "_logger", "logging"}
            ):
                continue
            messages = call.args[1:2] if call.func.attr == "log" else call.args[:1]
            if not all(isinstance(one, ast.Constant) for one in messages):
                wrong.append(f"{_name(path)}:{call.lineno}")
    assert wrong == []


def test_no_bare_except_and_no_todo_without_a_number():
    wrong = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                wrong.append(f"{_name(path)}:{node.lineno}")
        if re.search(r"\bTODO(?!\(#\d+\))", path.read_text()):
            wrong.append(_name(path))
    assert wrong == []


# Packages


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_a_distribution_with_version_and_entry_point(service: str):
    document = tomllib.loads(
        (ROOT / "services" / service / "pyproject.toml").read_text()
    )
    project = document["project"]
    assert project["name"] == f"clarion-{service}"
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    scripts = {f"clarion-{service}": f"clarion.{service}.__main__:main"}
    assert project["scripts"] == scripts
    assert callable(importlib.import_module(f"clarion.{service}.__main__").main)
    module = document["tool"]["uv"]["build-backend"]["module-name"]
    assert module == f"clarion.{service}"
    assert (ROOT / f"services/{service}/src/clarion/{service}/py.typed").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_service_depends_on_contracts_and_runtime_and_no_other_service(service: str):
    document = tomllib.loads(
        (ROOT / "services" / service / "pyproject.toml").read_text()
    )
    names = {
        re.split(r"[\[<>=~ ]", requirement)[0]
        for requirement in document["project"]["dependencies"]
    }
    ours = {name for name in names if name.startswith("clarion-")}
    assert ours == {"clarion-contracts", "clarion-runtime"}


@pytest.mark.parametrize("service", SERVICES)
def test_service_that_lacks_settings_says_so_and_ends_with_2(service: str):
    done = subprocess.run(
        [sys.executable, "-m", f"clarion.{service}", "--check"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "CLARION_API_KEYS_FILE" in done.stderr


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    done = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    listed = set(re.findall(r"^\s+make (\S+)\s+\S", done.stdout, re.MULTILINE))
    wanted = {"setup", "run", "test", "lint", "proto", "bench"}
    assert wanted <= listed
    assert phony - listed <= {"help"}
