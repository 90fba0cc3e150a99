"""The control API: what arrived, the script, receipts on demand, and the live page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

from clarion.sandbox.page import PAGE, snapshot
from clarion.sandbox.receipts import ReceiptSender
from clarion.sandbox.record import CHANNELS, Filter, Record, Store
from clarion.sandbox.script import PROVIDERS, Script, ScriptError, parse_receipt
from clarion.sandbox.sendgrid import SendGrid
from clarion.sandbox.twilio import Twilio

MAX_LIMIT = 5000
LIVE_SECONDS = 0.4
_ARRIVAL_LINES = 2000


class RequestError(ValueError):
    """A control request cannot be understood; becomes 400 with the field named."""

    def __init__(self, field_path: str, problem: str, *, status: int = 400) -> None:
        super().__init__(problem)
        self.field = field_path
        self.status = status


@dataclass(slots=True)
class Control:
    """Handlers of the control API over the parts of one sandbox."""

    store: Store
    script: Script
    receipts: ReceiptSender
    twilio: Twilio
    sendgrid: SendGrid
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_errors], client_max_size=32 << 20)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/live", self._live),
                web.get("/messages", self._messages),
                web.delete("/messages", self._reset),
                web.get("/summary", self._summary),
                web.get("/arrivals", self._arrivals),
                web.get("/script", self._script),
                web.put("/script", self._put_script),
                web.delete("/script", self._delete_script),
                web.get("/receipts", self._receipts),
                web.post("/receipts", self._post_receipt),
                web.get("/webhooks", self._webhooks),
                web.put("/webhooks", self._put_webhooks),
            ]
        )
        return app

    def reset(self) -> None:
        """Forget what arrived and what was planned; rules and webhooks stay."""
        self.store.clear()
        self.receipts.forget()
        self.twilio.clear()
        self.sendgrid.clear()

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(body=PAGE, content_type="text/html", charset="utf-8")

    async def _live(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "cache-control": "no-store"}
        )
        await response.prepare(request)
        await response.write(b"retry: 1000\n\n")
        state: tuple[object, ...] = ()
        seen = 0
        quiet = 0.0
        while not self.stopping.is_set():
            now = (self.store.since, self.store.outcomes.total(), self.receipts.pending)
            if now != state:
                data = snapshot(self.store, self.receipts, seen)
                seen = self.store.sequence
                state, quiet = now, 0.0
                await response.write(b"data: " + json.dumps(data).encode() + b"\n\n")
            elif quiet >= 15:
                quiet = 0.0
                await response.write(b": still here\n\n")
            quiet += LIVE_SECONDS
            try:
                await asyncio.wait_for(self.stopping.wait(), LIVE_SECONDS)
            except TimeoutError:
                continue
        return response

    async def _messages(self, request: web.Request) -> web.Response:
        query = request.query
        _known(query, {"after", "limit", *_FILTERS})
        _one_of(query, "provider", tuple(PROVIDERS))
        _one_of(query, "channel", CHANNELS)
        wanted = Filter(
            **{name: query.get(name, "") for name in _FILTERS},
            after=_integer(query, "after", None, highest=None),
        )
        limit = _integer(query, "limit", 100, highest=MAX_LIMIT) or 0
        found = self.store.find(wanted, limit)
        newest = max((r.sequence for r in found), default=self.store.sequence)
        messages = [record.as_json() for record in found]
        return web.json_response({"messages": messages, "cursor": str(newest)})

    async def _reset(self, request: web.Request) -> web.Response:
        self.reset()
        return web.json_response({})

    async def _summary(self, request: web.Request) -> web.Response:
        receipts = self.receipts
        return web.json_response(
            {
                **self.store.summary(),
                "receipts": {
                    "sent": dict(receipts.sent),
                    "failed": dict(receipts.failed),
                    "pending": receipts.pending,
                },
            }
        )

    async def _arrivals(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        _known(query, {"channel", "after", "format"})
        channel = _one_of(query, "channel", CHANNELS)
        as_list = _one_of(query, "format", ("ndjson", "json")) == "json"
        kind = "application/json" if as_list else "application/x-ndjson"
        response = web.StreamResponse(headers={"content-type": kind})
        response.headers["x-arrivals"] = str(self.store.arrivals_kept)
        await response.prepare(request)
        separator = ",\n" if as_list else "\n"
        first = _integer(query, "after", 0, highest=None) or 0
        end = self.store.arrivals_kept
        started = False
        if as_list:
            await response.write(b"[")
        while first < end:
            lines = [
                f'{{"notification_id":{json.dumps(notification)},"delivery_id":'
                f'{json.dumps(delivery)},"channel":"{of}","arrived_ms":{arrived}}}'
                for notification, delivery, of, arrived in self.store.arrivals(
                    first, min(_ARRIVAL_LINES, end - first)
                )
                if not channel or of == channel
            ]
            first += _ARRIVAL_LINES
            if lines:
                text = separator.join(lines)
                lead = separator if started else ""
                started = True
                await response.write(f"{lead}{text}".encode())
            # A big answer must not hold up the providers' listeners.
            await asyncio.sleep(0)
        await response.write(b"]\n" if as_list else b"\n" if started else b"")
        return response

    async def _script(self, request: web.Request) -> web.Response:
        return web.json_response({"rules": self.script.as_json()})

    async def _put_script(self, request: web.Request) -> web.Response:
        self.script.replace(await _json(request))
        return web.json_response({"rules": self.script.as_json()})

    async def _delete_script(self, request: web.Request) -> web.Response:
        self.script.replace([])
        return web.json_response({"rules": []})

    async def _receipts(self, request: web.Request) -> web.Response:
        return web.json_response(self.receipts.as_json())

    async def _post_receipt(self, request: web.Request) -> web.Response:
        document = await _json(request)
        if not isinstance(document, Mapping):
            raise RequestError("", "must be an object")
        rest = dict(document)
        if "inbound" in rest:
            posted = self._inbound(rest["inbound"])
            return web.json_response({"posted": posted}, status=202)
        record = self._find(rest)
        provider = record.arrival.provider
        receipt = parse_receipt(rest, "receipt", {provider})
        if provider == "twilio":
            sid = record.arrival.provider_message_id

            def fire() -> None:
                self.twilio.fire(sid, receipt)
        else:

            def fire() -> None:
                self.sendgrid.fire(record.arrival, receipt)

        if receipt.after_seconds:
            self.receipts.call_later(receipt.after_seconds, fire)
        else:
            fire()
        return web.json_response({"posted": True}, status=202)

    def _inbound(self, inbound: object) -> bool:
        if not isinstance(inbound, Mapping):
            raise RequestError("inbound", "must be an object with from, to and body")
        for name in ("from", "to", "body"):
            if not isinstance(inbound.get(name), str):
                raise RequestError(f"inbound.{name}", "must be a string")
        return self.twilio.receive(inbound["from"], inbound["to"], inbound["body"])

    def _find(self, document: dict[str, Any]) -> Record:
        """Take the fields that name a message out of a receipt and find the message."""
        message_id = document.pop("message_id", None)
        delivery_id = document.pop("delivery_id", None)
        if isinstance(message_id, str):
            record = self.store.by_message_id(message_id)
        elif isinstance(delivery_id, str):
            record = self.store.by_delivery_id(delivery_id)
        else:
            raise RequestError(
                "message_id", "name the message: message_id, delivery_id"
            )
        if record is None:
            raise RequestError("message_id", "no such message is kept", status=404)
        if record.arrival.provider not in ("twilio", "sendgrid"):
            raise RequestError("message_id", "its provider sends no receipts")
        return record

    async def _webhooks(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.receipts.webhooks))

    async def _put_webhooks(self, request: web.Request) -> web.Response:
        document = await _json(request)
        if not isinstance(document, Mapping):
            raise RequestError("", "must be an object")
        webhooks = self.receipts.webhooks
        _known(document, set(asdict(webhooks)))
        for name, url in document.items():
            if not isinstance(url, str) or not (
                url == "" or url.startswith(("http://", "https://"))
            ):
                raise RequestError(name, "must be an http URL, or empty")
        for name, url in document.items():
            setattr(webhooks, name, url)
        return web.json_response(asdict(webhooks))


_FILTERS = ("provider", "channel", "recipient", "notification_id")


@web.middleware
async def _errors(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ScriptError as exc:
        return _error(400, "INVALID_SCRIPT", exc.field, exc.problem)
    except RequestError as exc:
        reason = "NOT_FOUND" if exc.status == 404 else "INVALID_REQUEST"
        return _error(exc.status, reason, exc.field, str(exc))
    except web.HTTPException as exc:
        return _error(exc.status, exc.reason.upper().replace(" ", "_"), "", exc.reason)


def _error(status: int, reason: str, field_path: str, message: str) -> web.Response:
    error = {"reason": reason, "field": field_path, "message": message}
    return web.json_response({"error": error}, status=status)


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError as exc:
        raise RequestError("", "the body must be JSON") from exc


def _known(values: Mapping[str, Any], names: set[str]) -> None:
    for name in values:
        if name not in names:
            known = ", ".join(sorted(names))
            raise RequestError(name, f"unknown; known are {known}")


def _one_of(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = query.get(name, "")
    if value and value not in choices:
        raise RequestError(name, f"must be one of {', '.join(choices)}")
    return value


def _integer(
    query: Mapping[str, str], name: str, default: int | None, *, highest: int | None
) -> int | None:
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise RequestError(name, "must be a whole number of at least 0")
    if highest is not None and int(text) > highest:
        raise RequestError(name, f"must be at most {highest}")
    return int(text)
