from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from clarion.client.cli import main

STACK_COMMANDS = ["up", "status", "logs", "down"]


def test_help_lists_the_commands_with_examples():
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert all(f"\n  {name} " in shown.output for name in STACK_COMMANDS)
    assert "Examples:" in shown.output


def test_help_imports_no_command():
    script = (
        "import sys; from clarion.client.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(ran.stderr.split())
    assert not loaded & {"grpc", "rich", "psycopg", "clarion.client.cli.up"}


@pytest.mark.parametrize(
    "name", [*STACK_COMMANDS, "cancel", "list", "reschedule", "api"]
)
def test_command_has_help_with_examples(name: str):
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert f"clarion {name}" in shown.output.partition("Examples:")[2]


@pytest.mark.parametrize("at", ["tomorrow", "2030-01-31T10:30:00"])
def test_a_time_to_reschedule_to_needs_an_offset(at: str):
    shown = CliRunner().invoke(main, ["reschedule", "id", "--at", at])
    assert shown.exit_code == 2
    assert "--at" in shown.output


def test_unknown_command_is_named():
    shown = CliRunner().invoke(main, ["nothing"])
    assert shown.exit_code == 2
    assert "nothing" in shown.output
