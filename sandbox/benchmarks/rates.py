"""Messages a second that each provider takes, and the sandbox's CPU time for one.

Starts a sandbox of its own. Usage: python sandbox/benchmarks/rates.py [messages]
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import click
import jwt
import pycurl
import uvloop
from aiohttp import web

IN_FLIGHT = 200
CONNECTIONS = 4


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        environ = dict(os.environ, CLARION_SANDBOX_DATA=folder)
        environ["CLARION_SANDBOX_RECEIPTS"] = "off"
        command = [sys.executable, "-m", "clarion.sandbox"]
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        try:
            ready = Path(folder) / "sandbox.json"
            while not ready.exists():
                time.sleep(0.005)
            click.echo(f"ready after {time.perf_counter() - started:.2f} s")
            places = json.loads(ready.read_text())
            measure_all(places, process.pid, count)
        finally:
            stopped = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            click.echo(f"stopped after {time.perf_counter() - stopped:.2f} s")


def measure_all(places: dict[str, str], pid: int, count: int) -> None:
    account = json.loads(Path(places["fcm_credentials_file"]).read_text())
    token = asyncio.run(access_token(account))
    headers = [f"authorization: Bearer {token}", "content-type: application/json"]
    tls, project = places["push_tls_url"], places["fcm_project"]
    send = f"/v1/projects/{project}/messages:send"

    def fcm(url: str) -> Callable[[int], tuple[str, bytes, list[str]]]:
        return lambda n: (url + send, fcm_body(n), headers)

    def apns(n: int) -> tuple[str, bytes, list[str]]:
        fields = [*apns_headers, f"apns-id: {uuid.uuid4()}"]
        return f"{tls}/3/device/{n % 1000:064x}", apns_body(), fields

    apns_headers = [
        *(f"authorization: bearer {provider_token(places)}", "apns-topic: app"),
        *("apns-push-type: alert", "apns-priority: 10", "apns-expiration: 0"),
    ]
    ca = places["ca_file"]
    report("fcm, HTTP/2, pycurl", pid, count, lambda: curl(fcm(tls), count, ca))
    report("apns, HTTP/2, pycurl", pid, count, lambda: curl(apns, count, ca))
    fcm_url, twilio_url = places["fcm_url"], places["twilio_url"]
    secret = Path(places["twilio_auth_token_file"]).read_text()
    sid = places["twilio_account_sid"]
    basic = aiohttp.encode_basic_auth(sid, secret)
    sms = (
        f"{twilio_url}/2010-04-01/Accounts/{sid}/Messages.json",
        {"authorization": basic, "content-type": "application/x-www-form-urlencoded"},
    )
    bearer = {"authorization": f"Bearer {token}"}
    mail = f"{places['sendgrid_url']}/v3/mail/send"
    for name, url, fields, body in (
        ("fcm, HTTP/1.1, aiohttp", fcm_url + send, bearer, fcm_body),
        ("twilio, aiohttp", *sms, sms_body),
        ("sendgrid, aiohttp", mail, bearer, sendgrid_body),
    ):
        report(
            *(name, pid, count // 2),
            lambda url=url, fields=fields, body=body: uvloop.run(
                posts(url, fields, body, count // 2)
            ),
        )
    report(
        *("twilio, with two receipts", pid, count // 4),
        lambda: uvloop.run(with_receipts(places, *sms, count // 4)),
    )
    host, port = places["smtp_url"].removeprefix("smtp://").split(":")
    report(
        *("smtp, raw client, pipelined", pid, count),
        lambda: uvloop.run(raw_smtp(host, int(port), count)),
    )
    report(
        *("smtp, aiosmtplib sendmail", pid, count // 2),
        lambda: uvloop.run(smtp(host, int(port), count // 2)),
    )


def report(name: str, pid: int, count: int, run: Callable[[], None]) -> None:
    cpu, start = cpu_seconds(pid), time.perf_counter()
    run()
    took, used = time.perf_counter() - start, cpu_seconds(pid) - cpu
    click.echo(
        f"{name:32} {count / took:8.0f} a second, "
        f"{used / count * 1e6:6.0f} us of sandbox CPU each, "
        f"{count / max(used, 0.01):8.0f} a second of its CPU"
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def curl(
    make: Callable[[int], tuple[str, bytes, list[str]]], count: int, ca: str
) -> None:
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, CONNECTIONS)
    idle = []
    for _ in range(IN_FLIGHT):
        easy = pycurl.Curl()
        easy.setopt(pycurl.CAINFO, ca)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        easy.setopt(pycurl.PIPEWAIT, 1)
        easy.setopt(pycurl.WRITEFUNCTION, len)
        idle.append(easy)
    sent = done = 0
    while done < count:
        while idle and sent < count:
            easy = idle.pop()
            url, body, headers = make(sent)
            easy.setopt(pycurl.URL, url)
            easy.setopt(pycurl.POSTFIELDS, body)
            easy.setopt(pycurl.HTTPHEADER, headers)
            multi.add_handle(easy)
            sent += 1
        multi.perform()
        _, good, bad = multi.info_read()
        assert not bad, bad[0][1:]
        for easy in good:
            assert easy.getinfo(pycurl.RESPONSE_CODE) == 200
            multi.remove_handle(easy)
            idle.append(easy)
        done += len(good)
        if not good:
            multi.select(0.1)


async def posts(
    url: str, headers: dict[str, str], body: Callable[[int], bytes], count: int
) -> None:
    numbers = iter(range(count))
    connector = aiohttp.TCPConnector(limit=32)

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for number in numbers:
                async with session.post(url, data=body(number)) as response:
                    await response.read()
                    assert response.status < 300, response.status

        await asyncio.gather(*(work() for _ in range(32)))


async def with_receipts(
    places: dict[str, str], url: str, headers: dict[str, str], count: int
) -> None:
    """Posts texts and takes the two status callbacks of each."""
    got, all_there = 0, asyncio.Event()

    async def take(_: web.BaseRequest) -> web.Response:
        nonlocal got
        got += 1
        if got == 2 * count:
            all_there.set()
        return web.Response()

    sink = web.Server(take)
    listener = await asyncio.get_running_loop().create_server(sink, "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook"
    receipts = [{"status": "sent"}, {"status": "delivered"}]
    rules = [{"action": {"receipts": receipts}, "match": {"provider": "twilio"}}]
    script = f"{places['control_url']}/script"
    async with aiohttp.ClientSession() as session:
        await session.put(script, json=rules)
        await posts(url, headers, lambda number: sms_body(number, hook), count)
        await all_there.wait()
        await session.delete(script)
    listener.close()
    await sink.shutdown(0.1)


async def smtp(host: str, port: int, count: int) -> None:
    import aiosmtplib

    numbers = iter(range(count))

    async def work() -> None:
        client = aiosmtplib.SMTP(hostname=host, port=port, start_tls=False)
        async with client:
            for number in numbers:
                person = f"person-{number}@example.com"
                await client.sendmail("a@example.com", [person], mail_body())

    await asyncio.gather(*(work() for _ in range(8)))


async def raw_smtp(host: str, port: int, count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        await reader.readline()
        writer.write(b"EHLO localhost\r\n")
        while b"250 " not in await reader.readline():
            pass
        for number in numbers:
            person = f"person-{number}@example.com"
            envelope = f"MAIL FROM:<a@example.com>\r\nRCPT TO:<{person}>\r\nDATA\r\n"
            writer.write(envelope.encode())
            for _ in range(3):
                await reader.readline()
            writer.write(mail_body() + b".\r\n")
            assert (await reader.readline()).startswith(b"250")
        writer.close()

    await asyncio.gather(*(work() for _ in range(8)))


async def access_token(account: dict[str, str]) -> str:
    now = int(time.time())
    claims = {
        "iss": account["client_email"],
        "aud": account["token_uri"],
        "iat": now,
        "exp": now + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
    }
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": jwt.encode(claims, account["private_key"], algorithm="RS256"),
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(account["token_uri"], data=form) as response,
    ):
        granted: dict[str, Any] = await response.json()
    return str(granted["access_token"])


def provider_token(places: dict[str, str]) -> str:
    return jwt.encode(
        {"iss": places["apns_team_id"], "iat": int(time.time())},
        Path(places["apns_key_file"]).read_text(),
        algorithm="ES256",
        headers={"kid": places["apns_key_id"]},
    )


def fcm_body(number: int) -> bytes:
    ids = {
        "clarion_notification_id": str(uuid.uuid4()),
        "clarion_delivery_id": str(uuid.uuid4()),
    }
    shown = {"title": "Your order is on its way", "body": "It arrives tomorrow."}
    message = {"token": f"token-{number % 1000}", "notification": shown, "data": ids}
    return json.dumps({"message": message}).encode()


def apns_body() -> bytes:
    shown = {"title": "Your order is on its way", "body": "It arrives tomorrow."}
    body = {
        "aps": {"alert": shown},
        "clarion_notification_id": str(uuid.uuid4()),
        "clarion_delivery_id": str(uuid.uuid4()),
    }
    return json.dumps(body).encode()


def sms_body(number: int, hook: str = "http://127.0.0.1:9/hook") -> bytes:
    query = f"notification_id={uuid.uuid4()}&delivery_id={uuid.uuid4()}"
    form = {
        "To": f"+1555{number % 1000:07d}",
        "From": "+15550001111",
        "Body": "Your code is 123456",
        "StatusCallback": f"{hook}?{query}",
    }
    return urlencode(form).encode()


def sendgrid_body(number: int) -> bytes:
    ids = {
        "clarion_notification_id": str(uuid.uuid4()),
        "clarion_delivery_id": str(uuid.uuid4()),
    }
    person = {"to": [{"email": f"person-{number}@example.com"}], "custom_args": ids}
    mail = {
        "personalizations": [person],
        "from": {"email": "a@example.com"},
        "subject": "Your order",
        "content": [{"type": "text/plain", "value": "It arrives tomorrow."}],
    }
    return json.dumps(mail).encode()


def mail_body() -> bytes:
    return (
        f"From: a@example.com\r\nTo: b@example.com\r\nSubject: Your order\r\n"
        f"X-Clarion-Notification-Id: {uuid.uuid4()}\r\n"
        f"X-Clarion-Delivery-Id: {uuid.uuid4()}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\n"
        + "It arrives tomorrow, says the carrier.\r\n"
        * 20
    ).encode()


if __name__ == "__main__":
    main()
