from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))


def _contracts() -> dict[str, dict]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    linter = document["tool"]["importlinter"]
    return {contract["name"]: contract for contract in linter["contracts"]}


def test_no_module_imports_what_it_must_not():
    lint = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", lint, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_rules_know_every_service():
    independent = _contracts()["Services do not import each other"]["modules"]
    assert sorted(independent) == [f"clarion.{name}" for name in SERVICES]


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_domain_modules_that_know_no_transport(service: str):
    rule = _contracts()["Domain modules know neither gRPC nor NATS"]
    modules = [name.split(".")[1] for name in rule["source_modules"]]
    assert service in modules


def test_namespace_package_has_no_init():
    assert [str(path) for path in ROOT.glob("*/*/src/clarion/__init__.py")] == []
    assert not (ROOT / "sandbox/src/clarion/__init__.py").exists()
