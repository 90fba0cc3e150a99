"""The whole wiring: listeners, providers, record, script, control."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from clarion.sandbox import credentials as keys
from clarion.sandbox.apns import Apns
from clarion.sandbox.control import Control
from clarion.sandbox.exchange import Handler, Reply, Request
from clarion.sandbox.fcm import Fcm
from clarion.sandbox.http1 import Http1Protocol
from clarion.sandbox.http2 import Http2Protocol
from clarion.sandbox.receipts import ReceiptSender, Webhooks
from clarion.sandbox.record import Store
from clarion.sandbox.script import Script
from clarion.sandbox.sendgrid import SendGrid
from clarion.sandbox.settings import Settings
from clarion.sandbox.smtp import SmtpProtocol
from clarion.sandbox.twilio import Twilio

HOST = "127.0.0.1"
STOP_SECONDS = 0.1
"""Time that open requests of the control get at the end."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox. `places` is what `sandbox.json` says."""

    store: Store
    script: Script
    receipts: ReceiptSender
    control: Control
    places: dict[str, str]
    twilio_token: str


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Sandbox]:
    """Run a sandbox; everything listens and `sandbox.json` is written on entry.

    Raises OSError when a port is taken or the folder cannot be written.
    """
    loop = asyncio.get_running_loop()
    ready = settings.data / "sandbox.json"
    # A sandbox that was killed left its file, and the file is what others wait for.
    ready.unlink(missing_ok=True)
    credentials = await asyncio.to_thread(keys.load_or_make, settings.data)
    token_file = settings.data / "twilio-token.txt"
    twilio_token = keys.secret_text(token_file, settings.twilio_token)
    store, script = Store(), Script()
    receipts = ReceiptSender(
        Webhooks(settings.twilio_inbound_url, settings.sendgrid_events_url)
    )
    fcm = Fcm(store, script, credentials.service_account_key.public_key())
    apns = Apns(store, script, credentials.apns_key.public_key())
    twilio = Twilio(
        *(store, script, receipts),
        account_sid=settings.twilio_sid,
        auth_token=twilio_token,
        usual_receipts=settings.receipts,
    )
    sendgrid = SendGrid(
        *(store, script, receipts),
        signing_key=credentials.sendgrid_key,
        api_key=settings.sendgrid_key,
        usual_receipts=settings.receipts,
    )
    control = Control(store, script, receipts, twilio, sendgrid)
    async with AsyncExitStack() as stack:
        await receipts.start()
        stack.push_async_callback(receipts.stop)
        ports: dict[str, int] = {}

        async def listen(
            name: str,
            protocol: Callable[[], asyncio.BaseProtocol],
            tls: ssl.SSLContext | None = None,
        ) -> None:
            port = settings.ports.get(name, 0)
            listener = await loop.create_server(
                protocol, HOST, port, ssl=tls, backlog=1024
            )
            stack.callback(listener.close)
            ports[name] = listener.sockets[0].getsockname()[1]

        async def listen_http(name: str, handler: Handler) -> None:
            http: set[Http1Protocol] = set()
            stack.callback(_abort_all, http)
            await listen(name, lambda: Http1Protocol(handler, http))

        await listen_http("fcm", fcm.handle)
        await listen_http("twilio", twilio.handle)
        await listen_http("sendgrid", sendgrid.handle)
        push: set[Http2Protocol] = set()
        stack.callback(_abort_all, push)
        handler = _push_handler(apns, fcm)
        tls = _tls(credentials.server_file, alpn=["h2"])
        await listen("push_tls", lambda: Http2Protocol(handler, push), tls)
        mail: set[SmtpProtocol] = set()
        stack.callback(_abort_all, mail)
        smtp_tls = _tls(credentials.server_file)
        await listen("smtp", lambda: SmtpProtocol(store, script, mail, smtp_tls))
        runner = web.AppRunner(
            control.application(), access_log=None, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(control.stopping.set)
        assert runner.server is not None
        await listen("control", runner.server)

        places = _places(credentials, ports) | {
            "twilio_account_sid": settings.twilio_sid,
            "twilio_auth_token_file": str(token_file.resolve()),
        }
        fcm.token_uri = places["oauth_token_url"]
        credentials.write_service_account(fcm.token_uri)
        keys.write_private(ready, json.dumps(places, indent=2).encode() + b"\n")
        stack.callback(ready.unlink, missing_ok=True)
        yield Sandbox(store, script, receipts, control, places, twilio_token)


def _abort_all(
    connections: Collection[Http1Protocol | Http2Protocol | SmtpProtocol],
) -> None:
    for connection in list(connections):
        connection.abort()


def _push_handler(apns: Apns, fcm: Fcm) -> Handler:
    def handle(request: Request) -> Reply:
        if request.path.startswith("/v1/") or request.path == "/token":
            return fcm.handle(request)
        return apns.handle(request)

    return handle


def _tls(server_file: Path, alpn: list[str] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(server_file)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _places(credentials: keys.Credentials, ports: dict[str, int]) -> dict[str, str]:
    fcm_url = f"http://{HOST}:{ports['fcm']}"
    return {
        "fcm_url": fcm_url,
        "push_tls_url": f"https://{HOST}:{ports['push_tls']}",
        "twilio_url": f"http://{HOST}:{ports['twilio']}",
        "sendgrid_url": f"http://{HOST}:{ports['sendgrid']}",
        "smtp_url": f"smtp://{HOST}:{ports['smtp']}",
        "control_url": f"http://{HOST}:{ports['control']}",
        "oauth_token_url": f"{fcm_url}/token",
        "ca_file": str(credentials.ca_file.resolve()),
        "fcm_credentials_file": str(credentials.fcm_credentials_file.resolve()),
        "fcm_project": keys.PROJECT,
        "apns_key_file": str(credentials.apns_key_file.resolve()),
        "apns_key_id": keys.APNS_KEY_ID,
        "apns_team_id": keys.APNS_TEAM_ID,
        "sendgrid_public_key_file": str(credentials.sendgrid_public_key_file.resolve()),
    }
