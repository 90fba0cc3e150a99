"""``clarion api`` against an HTTP server that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from clarion.client.cli import main

REFUSED = {
    "code": 3,
    "message": "granted: is missing: give a value",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "INVALID_ARGUMENT",
            "domain": "clarion",
        },
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "field_violations": [{"field": "granted", "description": "give a value"}],
        },
    ],
}


class Edge:
    """What was asked, and what is answered next."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, str]] = []
        self.status = 200
        self.answer = b"{}"
        self.target = ""


@pytest.fixture
def edge() -> Iterator[Edge]:
    here = Edge()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            key = self.headers["authorization"]
            here.asked.append((self.command, self.path, body, key))
            self.send_response(here.status)
            self.end_headers()
            self.wfile.write(here.answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        here.target = f"127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield here
        server.shutdown()
        serving.join()


@pytest.fixture
def api(edge: Edge, tmp_path: Path) -> Any:
    key = tmp_path / "key"
    key.write_text("secret\n")

    def run(*words: str, stdin: str | None = None) -> Result:
        options = ("--target", edge.target, "--key-file", str(key))
        return CliRunner().invoke(main, ["api", *words, *options], input=stdin)

    return run


def test_fields_make_the_body_and_may_stand_inside_of_each_other(api, edge):
    fields = ["a=text", "quiet_hours.start=22:00", "n=2", 'list=["x"]', "on=true"]
    shown = api("put", "users/ada/preferences", *(f"-f{field}" for field in fields))
    assert shown.exit_code == 0, shown.output
    body = {
        "a": "text",
        "quiet_hours": {"start": "22:00"},
        "n": 2,
        "list": ["x"],
        "on": True,
    }
    path = "/api/v1/users/ada/preferences"
    assert edge.asked == [("PUT", path, body, "Bearer secret")]


def test_a_body_is_read_and_fields_are_added(api, edge):
    given = json.dumps({"type": "news", "limits": {"daily": 1}})
    api("POST", "/api/v1/types", "-i", "-", "-f", "limits.weekly=3", stdin=given)
    [(_, _, body, _)] = edge.asked
    assert body == {"type": "news", "limits": {"daily": 1, "weekly": 3}}


def test_fields_of_what_has_no_body_are_in_the_query(api, edge):
    api("GET", "notifications", "-f", "user_id=a&b", "-f", "page.size=5")
    api("DELETE", "types/über uns", "-f", "sure=true")
    assert [(path, body) for _, path, body, _ in edge.asked] == [
        ("/api/v1/notifications?user_id=a%26b&page.size=5", None),
        ("/api/v1/types/%C3%BCber%20uns?sure=true", None),
    ]


def test_the_answer_is_shown_for_people_and_for_machines(api, edge):
    edge.answer = '{"name": "Zoë", "n": 1}'.encode()
    assert api("GET", "x").output == '{\n  "name": "Zoë",\n  "n": 1\n}\n'
    assert api("GET", "x", "--json").output == '{"name": "Zoë", "n": 1}\n'


def test_a_refusal_names_the_fields(api, edge):
    edge.status, edge.answer = 400, json.dumps(REFUSED).encode()
    shown = api("POST", "users/ada/consents")
    assert shown.exit_code == 1
    assert "INVALID_ARGUMENT: granted: is missing" in shown.output
    assert "  granted: give a value" in shown.output


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (503, b"no healthy upstream", "UNAVAILABLE: HTTP 503"),
        (404, b'{"error": 1}', "UNKNOWN: HTTP 404"),
        (200, b"<html>", "UNKNOWN: HTTP 200, and no error of the mesh: <html>"),
        (500, b"", "HTTP 500, and no error of the mesh: nothing"),
        (400, b'{"code": "x"}', "HTTP 400"),
    ],
)
def test_what_is_no_answer_of_a_mesh_is_an_error(api, edge, status, answer, said):
    edge.status, edge.answer = status, answer
    shown = api("GET", "types")
    assert shown.exit_code == 1
    assert said in shown.output


def test_a_mesh_that_does_not_answer_is_named(api, edge):
    edge.target = "127.0.0.1:1"
    shown = api("GET", "types")
    assert shown.exit_code == 1
    assert "UNAVAILABLE: 127.0.0.1:1 does not answer" in shown.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("PUT", "x", "-f", "a"), "a: give NAME=VALUE"),
        (("PUT", "x", "-f", "a=1", "-f", "a.b=2"), "a.b: a is no object"),
        (("PUT", "x", "-i", "-"), "--input is no JSON"),
        (("GET", "x", "-i", "-"), "GET takes no body"),
        (("HEAD", "x"), "'HEAD' is not one of"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_call(api, edge, words, said):
    shown = api(*words, stdin="[")
    assert shown.exit_code == 2
    assert said in shown.output
    assert edge.asked == []
