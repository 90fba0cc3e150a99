"""Fixtures: a running sandbox, real clients, and a receiver of webhooks."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import jwt
import pycurl
import pytest
from aiohttp import web

from clarion.sandbox.testing import RunningSandbox, running_sandbox

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class Hooks:
    """A web server that keeps what was posted to it."""

    url: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def forms(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(body.decode())) for _, _, body in self.got]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CLARION_")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(tmp_path) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    kept = Hooks()

    async def take(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        kept.got.append((str(request.url), headers, body))
        return web.Response(status=kept.statuses.pop(0) if kept.statuses else 200)

    server = web.Server(take)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    kept.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield kept
    listener.close()
    await server.shutdown(0.1)


@pytest.fixture
def sign_assertion(sandbox: RunningSandbox) -> Callable[..., str]:
    """Makes the JWT that a service account asks for an access token with."""

    def sign(key: object = None, **changed: object) -> str:
        account = json.loads(Path(sandbox.fcm_credentials_file).read_text())
        now = int(time.time())
        claims = {
            "iss": account["client_email"],
            "aud": account["token_uri"],
            "iat": now,
            "exp": now + 3600,
            "scope": "https://www.googleapis.com/auth/firebase.messaging",
        }
        signing_key: Any = key or account["private_key"]
        return jwt.encode(claims | changed, signing_key, algorithm="RS256")

    return sign


@pytest.fixture
async def access_token(
    sandbox: RunningSandbox,
    http: aiohttp.ClientSession,
    sign_assertion: Callable[..., str],
) -> str:
    form = {"grant_type": GRANT, "assertion": sign_assertion()}
    async with http.post(sandbox.oauth_token_url, data=form) as response:
        assert response.status == 200
        return str((await response.json())["access_token"])


@pytest.fixture
def sign_provider_token(sandbox: RunningSandbox) -> Callable[..., str]:
    """Makes the JWT that APNs wants as a bearer."""

    def sign(key: object = None, kid: str = "", **changed: object) -> str:
        signing_key: Any = key or Path(sandbox.apns_key_file).read_text()
        return jwt.encode(
            {"iss": sandbox.apns_team_id, "iat": int(time.time())} | changed,
            signing_key,
            algorithm="ES256",
            headers={"kid": kid or sandbox.apns_key_id},
        )

    return sign


@dataclass
class Curl:
    """Posts over HTTP/2 with libcurl, as the push service does."""

    sandbox: RunningSandbox

    async def __call__(
        self, path: str, body: Any, headers: Mapping[str, str], method: str = "POST"
    ) -> Answer:
        return await asyncio.to_thread(self._post, path, body, headers, method)

    def _post(
        self, path: str, body: Any, headers: Mapping[str, str], method: str
    ) -> Answer:
        easy = pycurl.Curl()
        got, fields = io.BytesIO(), io.BytesIO()
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        easy.setopt(pycurl.URL, self.sandbox.push_tls_url + path)
        easy.setopt(pycurl.CAINFO, self.sandbox.ca_file)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        easy.setopt(pycurl.POSTFIELDS, text)
        easy.setopt(pycurl.CUSTOMREQUEST, method)
        easy.setopt(pycurl.HTTPHEADER, [f"{k}: {v}" for k, v in headers.items()])
        easy.setopt(pycurl.TIMEOUT, 10)
        easy.setopt(pycurl.WRITEDATA, got)
        easy.setopt(pycurl.HEADERFUNCTION, fields.write)
        try:
            easy.perform()
            assert easy.getinfo(pycurl.INFO_HTTP_VERSION) == pycurl.CURL_HTTP_VERSION_2
            status = easy.getinfo(pycurl.RESPONSE_CODE)
        finally:
            easy.close()
        lines = fields.getvalue().decode().splitlines()
        pairs = (line.split(": ", 1) for line in lines if ": " in line)
        return Answer(status, {k.lower(): v for k, v in pairs}, got.getvalue())


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture
def curl(sandbox: RunningSandbox) -> Curl:
    return Curl(sandbox)


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    async def wait(condition: Callable[[], object], timeout: float = 5.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, "waited too long"
            await asyncio.sleep(0.005)

    return wait
