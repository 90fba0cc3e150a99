from __future__ import annotations

import json
from pathlib import Path

import pytest

from clarion.client.embedded import log_files, ports
from clarion.client.embedded.credentials import Credentials
from clarion.client.embedded.edge import render, values
from clarion.client.embedded.environment import SERVICES, WEBHOOK_LISTENERS
from clarion.client.embedded.errors import AlreadyRunningError, EmbeddedError
from clarion.client.embedded.state import ProcessState, StackState, StateFile


def test_state_reads_back_as_written(tmp_path: Path):
    file = StateFile(tmp_path)
    state = StackState(
        pid=1,
        urls={"rest": "http://127.0.0.1:1"},
        processes={"router": ProcessState("ready", 2, 3)},
        ports={"router": 3},
    )
    file.write(state)
    assert file.read() == state


def test_state_holds_passwords_so_its_owner_alone_reads_it(tmp_path: Path):
    file = StateFile(tmp_path)
    file.write(StackState())
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_state_of_a_folder_without_a_stack_is_empty(tmp_path: Path):
    file = StateFile(tmp_path)
    assert file.read() == StackState()
    assert file.read_running() is None


def test_second_holder_of_a_folder_is_told_that_it_already_runs(tmp_path: Path):
    first, second = StateFile(tmp_path), StateFile(tmp_path)
    with first.lock:
        assert second.lock.is_held()
        with pytest.raises(AlreadyRunningError, match="already runs"):
            second.lock.__enter__()
    assert not second.lock.is_held()


def test_port_of_last_time_is_used_again_while_it_is_free():
    before = ports.choose(["a", "b"], {})
    assert ports.choose(["a", "b", "c"], before).items() > before.items()


def test_port_that_is_taken_meanwhile_is_replaced():
    taken = ports.free_port()
    with ports.socket.socket() as other:
        other.bind((ports.HOST, taken))
        other.listen()
        assert ports.choose(["a"], {"a": taken})["a"] != taken


def test_keys_are_made_once_and_private(tmp_path: Path):
    credentials = Credentials(tmp_path)
    credentials.make()
    first = credentials.demo_key
    Credentials(tmp_path).make()
    assert credentials.demo_key == first
    files = [
        credentials.demo_key_file,
        credentials.other_key_file,
        credentials.service_key_file,
    ]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_keys_file_holds_hashes_and_what_each_key_is_good_for(tmp_path: Path):
    credentials = Credentials(tmp_path)
    credentials.make()
    text = credentials.api_keys_file.read_text()
    demo, other, mesh = json.loads(text)["keys"]
    assert credentials.demo_key not in text
    assert (demo["id"], demo["tenant"], demo["scopes"]) == ("demo", "demo", ["*"])
    assert other["tenant"] == "other"
    assert (mesh["tenant"], mesh["scopes"]) == ("*", ["internal", "*"])


def test_key_that_was_added_by_hand_stays(tmp_path: Path):
    credentials = Credentials(tmp_path)
    added = {"id": "shop", "sha256": "0" * 64, "tenant": "shop", "scopes": ["*"]}
    credentials.api_keys_file.write_text(json.dumps({"keys": [added]}))
    credentials.make()
    keys = json.loads(credentials.api_keys_file.read_text())["keys"]
    assert [key["id"] for key in keys] == ["shop", "demo", "other", "mesh"]


def test_log_over_its_limit_is_put_aside_and_goes_on(tmp_path: Path):
    log = tmp_path / "x.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        log_files.cut(log, limit=20)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "x.log.1").read_bytes() == b"old\n" * 10


def test_template_keeps_a_block_only_when_its_name_has_a_value():
    text = "a\n#@if otlp\nb ${otlp}\n#@end\nc ${port}\n"
    assert render(text, {"port": 1}) == "a\nc 1\n"
    assert render(text, {"port": 1, "otlp": "x"}) == "a\nb x\nc 1\n"


def test_template_with_an_unknown_placeholder_is_refused():
    with pytest.raises(EmbeddedError, match="misspelt"):
        render("${misspelt}", {})


@pytest.mark.parametrize(
    ("environ", "percent"),
    [
        ({}, "100"),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, "100"),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.01"}, "100"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "100"),
        (
            {
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.01",
            },
            "1",
        ),
    ],
)
def test_the_edge_samples_as_the_services_do(
    environ: dict[str, str], percent: str
) -> None:
    chosen = {name: 1 for name in (*SERVICES, *WEBHOOK_LISTENERS)}
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}
    assert "otlp" not in values(Path(), chosen, environ)
    assert values(Path(), chosen, environ | endpoint)["trace_percent"] == percent
