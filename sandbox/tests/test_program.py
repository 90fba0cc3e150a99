from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from clarion.sandbox.settings import SettingsError, from_environment, parse_ports

COMMAND = [sys.executable, "-m", "clarion.sandbox"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environ = dict(os.environ, CLARION_SANDBOX_DATA=str(tmp_path))
    process = subprocess.Popen(COMMAND, env=environ, stderr=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def ready(folder: Path) -> dict[str, str]:
    end = time.monotonic() + 10
    while not (folder / "sandbox.json").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    places: dict[str, str] = json.loads((folder / "sandbox.json").read_text())
    return places


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_stops_within_a_second_while_somebody_watches(
    tmp_path: Path, program: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    places = ready(tmp_path)
    with urlopen(places["control_url"] + "/live", timeout=5) as page:
        assert page.readline() == b"retry: 1000\n"
        start = time.monotonic()
        program.send_signal(number)
        assert program.wait(5) == 0
        assert time.monotonic() - start < 1
    assert not (tmp_path / "sandbox.json").exists()


def test_keys_survive_a_restart_and_are_private(
    tmp_path: Path, program: subprocess.Popen[bytes]
) -> None:
    places = ready(tmp_path)
    names = ["ca_file", "apns_key_file", "sendgrid_public_key_file"]
    before = [Path(places[name]).read_bytes() for name in names]
    program.terminate()
    assert program.wait(5) == 0
    again = subprocess.Popen([*COMMAND, "--data", str(tmp_path)])
    try:
        places = ready(tmp_path)
        assert [Path(places[name]).read_bytes() for name in names] == before
        account = json.loads(Path(places["fcm_credentials_file"]).read_text())
        assert account["token_uri"] == places["oauth_token_url"]
        modes = {path.stat().st_mode & 0o77 for path in tmp_path.iterdir()}
        assert modes == {0}
    finally:
        again.terminate()
        again.wait(5)


def test_a_wrong_setting_is_named() -> None:
    done = subprocess.run(
        [*COMMAND, "--data", "x", "--ports", "ftp=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "CLARION_SANDBOX_PORTS" in done.stderr


@pytest.mark.parametrize("text", ["ftp=1", "smtp", "smtp=x", "smtp=65536"])
def test_bad_ports_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_ports(text)


def test_settings_need_a_folder() -> None:
    with pytest.raises(SettingsError, match="CLARION_SANDBOX_DATA"):
        from_environment({})


def test_the_program_stops_within_a_second_with_requests_under_way(
    tmp_path: Path, program: subprocess.Popen[bytes]
) -> None:
    places = ready(tmp_path)
    rules = json.dumps([{"action": {"delay_ms": 60_000}}]).encode()
    url = places["control_url"] + "/script"
    with urlopen(Request(url, rules, method="PUT"), timeout=5) as answer:
        assert answer.status == 200
    with ExitStack() as stack:
        mail = {"personalizations": [{"to": [{"email": "a@x.org"}]}]}
        mail |= {"from": {"email": "b@x.org"}, "subject": "x"}
        mail |= {"content": [{"type": "text/plain", "value": "x"}]}
        body = json.dumps(mail)
        head = "POST /v3/mail/send HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n{body}"
        talk = "HELO x\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n\r\n.\r\n"
        for name, text in (("sendgrid_url", request), ("smtp_url", talk)):
            host, port = places[name].rpartition("/")[2].split(":")
            client = stack.enter_context(socket.create_connection((host, int(port))))
            client.sendall(text.encode())
        wait_for_arrivals(places["control_url"], 2)
        start = time.monotonic()
        program.terminate()
        assert program.wait(5) == 0
        assert time.monotonic() - start < 1


def wait_for_arrivals(control_url: str, count: int) -> None:
    end = time.monotonic() + 5
    while True:
        with urlopen(control_url + "/summary", timeout=5) as answer:
            if json.load(answer)["accepted"]["total"] == count:
                return
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stale_ready_file_is_gone_before_anything_listens(tmp_path: Path) -> None:
    (tmp_path / "sandbox.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        ports = f"smtp={busy.getsockname()[1]}"
        done = subprocess.run(
            [*COMMAND, "--data", str(tmp_path), "--ports", ports],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert not (tmp_path / "sandbox.json").exists()
