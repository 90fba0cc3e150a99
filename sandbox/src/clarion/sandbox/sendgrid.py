"""SendGrid: POST /v3/mail/send and the signed Event Webhook."""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from clarion.sandbox.exchange import Reply, Request, json_reply, retry_header, settle
from clarion.sandbox.receipts import Post, ReceiptSender
from clarion.sandbox.record import Arrival, Store
from clarion.sandbox.script import Action, Script, ScriptedReceipt

RATE_LIMIT = 10_000
"""Requests a minute that the X-RateLimit headers speak of; nothing is refused by it."""
BATCH_SECONDS = 0.1
"""Events are posted together, as SendGrid does, after this long."""
USUAL_RECEIPTS = (ScriptedReceipt("processed", 0.0), ScriptedReceipt("delivered", 0.1))
_UNREGISTERED = (
    ScriptedReceipt("processed", 0.0),
    ScriptedReceipt(
        *("bounce", 0.05, "5.1.1"),
        reason="550 5.1.1 The email account that you tried to reach does not exist.",
    ),
)
_MESSAGES = {
    400: "Bad Request",
    401: "The provided authorization grant is invalid, expired, or revoked",
    403: "access forbidden",
    404: "The resource you were trying to locate could not be found!",
    405: "method not allowed",
    413: "request entity too large",
    429: "too many requests",
    500: "internal server error",
    503: "service not available",
}
_RETRIES = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 4, 8))


class SendGrid:
    """One SendGrid account."""

    def __init__(
        self,
        store: Store,
        script: Script,
        receipts: ReceiptSender,
        *,
        signing_key: ec.EllipticCurvePrivateKey,
        api_key: str,
        usual_receipts: bool,
    ) -> None:
        self._store = store
        self._script = script
        self._receipts = receipts
        self._signing_key = signing_key
        self._api_key = api_key
        self._usual = USUAL_RECEIPTS if usual_receipts else ()
        self._events: list[dict[str, Any]] = []
        self._minute = 0
        self._in_minute = 0

    def clear(self) -> None:
        """Forget the events that wait for their batch."""
        self._events.clear()

    def handle(self, request: Request) -> Reply:
        if request.path != "/v3/mail/send":
            return _error(404)
        if request.method != "POST":
            return _error(405)
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        wrong = self._api_key and not secrets.compare_digest(
            key.encode(), self._api_key.encode()
        )
        if scheme.lower() != "bearer" or not key or wrong:
            self._store.refused("sendgrid", "401")
            return _error(401)
        limits = self._rate_headers()
        try:
            mail = json.loads(request.body)
        except ValueError:
            self._store.refused("sendgrid", "400")
            return _error(400, *limits)
        fault = _fault(mail)
        if fault is not None:
            self._store.refused("sendgrid", "400")
            return _error(400, *limits, message=fault[1], field=fault[0])
        return self._accept(mail, request, limits)

    def _accept(
        self,
        mail: dict[str, Any],
        request: Request,
        limits: tuple[tuple[str, str], ...],
    ) -> Reply:
        message_id = secrets.token_urlsafe(16)
        accepted = Reply(202, b"", (("x-message-id", message_id), *limits))
        arrivals = list(_arrivals(mail, request.body, message_id))
        if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable") is True:
            return replace(accepted, status=200)
        # One answer stands for all recipients, so one refusal refuses the request.
        for arrival in arrivals:
            action = self._script.action_for(
                "sendgrid", "email", arrival.recipient, peek=True
            )
            if action and (action.hang_up == "before" or _refuse(action)):
                arrivals = [arrival]
                break
        replies = []
        for arrival in arrivals:
            reply, action, taken = settle(
                self._store, self._script, arrival, accepted, _refuse
            )
            replies.append(reply)
            if taken:
                self._plan(arrival, action)
        return max(replies, key=lambda reply: (reply.hang_up, reply.delay_seconds))

    def _plan(self, arrival: Arrival, action: Action | None) -> None:
        planned: tuple[ScriptedReceipt, ...] = self._usual
        if action is not None and action.silent:
            planned = ()
        elif action is not None and action.receipts is not None:
            planned = action.receipts
        elif action is not None and action.unregistered:
            planned = _UNREGISTERED
        if not self._receipts.webhooks.sendgrid_events_url:
            return
        for receipt in planned:
            self._receipts.call_later(
                receipt.after_seconds, partial(self.fire, arrival, receipt)
            )

    def fire(self, arrival: Arrival, receipt: ScriptedReceipt) -> bool:
        """Queue an event for the next batch; False when no webhook is configured."""
        if not self._receipts.webhooks.sendgrid_events_url:
            return False
        event: dict[str, Any] = {
            **arrival.details.get("custom_args", {}),
            "email": arrival.recipient,
            "timestamp": int(time.time()),
            "smtp-id": f"<{arrival.provider_message_id}@geopod-ismtpd-sandbox>",
            "event": receipt.status,
            "sg_event_id": uuid.uuid4().hex[:22],
            "sg_message_id": f"{arrival.provider_message_id}.recvd-sandbox-0-0",
        }
        # A blocked mail is an event "bounce" of type "blocked" on the wire.
        if receipt.status in ("bounce", "blocked"):
            event["event"] = "bounce"
            event["type"] = receipt.status
            event["status"] = receipt.error_code or "5.1.1"
            event["reason"] = receipt.reason or "550 5.1.1 User unknown"
        elif receipt.status in ("dropped", "deferred"):
            event["reason"] = receipt.reason or "Bounced Address"
        elif receipt.status == "delivered":
            event["response"] = receipt.reason or "250 2.0.0 OK"
        elif receipt.status in ("open", "click"):
            event |= {"ip": "127.0.0.1", "useragent": "Mozilla/5.0 (sandbox)"}
            if receipt.status == "click":
                event["url"] = receipt.reason or "https://example.com/"
        self._events.append(event)
        if len(self._events) == 1:
            self._receipts.call_later(BATCH_SECONDS, self._flush)
        return True

    def _flush(self) -> None:
        events, self._events = self._events, []
        url = self._receipts.webhooks.sendgrid_events_url
        if not events or not url:
            return
        # The real body ends in CR LF, and a receiver that trims it fails to verify.
        body = json.dumps(events, separators=(",", ":")).encode() + b"\r\n"
        self._receipts.send(
            Post(
                *("sendgrid", f"{len(events)} events", events[0]["sg_message_id"], url),
                sign=lambda: (self._signed(body), body),
                retries=_RETRIES,
                retry_on_status=True,
            )
        )

    def _signed(self, body: bytes) -> dict[str, str]:
        stamp = str(int(time.time()))
        digest = self._signing_key.sign(
            stamp.encode() + body, ec.ECDSA(hashes.SHA256())
        )
        return {
            "content-type": "application/json",
            "user-agent": "SendGrid Event API",
            "x-twilio-email-event-webhook-signature": base64.b64encode(digest).decode(),
            "x-twilio-email-event-webhook-timestamp": stamp,
        }

    def _rate_headers(self) -> tuple[tuple[str, str], ...]:
        minute = int(time.time() // 60)
        if minute != self._minute:
            self._minute, self._in_minute = minute, 0
        self._in_minute += 1
        return (
            ("x-ratelimit-limit", str(RATE_LIMIT)),
            ("x-ratelimit-remaining", str(max(0, RATE_LIMIT - self._in_minute))),
            ("x-ratelimit-reset", str((minute + 1) * 60)),
        )


def _refuse(action: Action) -> tuple[Reply, str] | None:
    status = action.status or 202
    if status < 300:
        return None
    headers = retry_header(action)
    if status == 429:
        reset = int(time.time() + (action.retry_after or 60))
        headers = (
            ("x-ratelimit-limit", str(RATE_LIMIT)),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", str(reset)),
            *headers,
        )
    return _error(status, *headers), str(status)


def _arrivals(mail: dict[str, Any], raw: bytes, message_id: str) -> Iterator[Arrival]:
    for personal in mail["personalizations"]:
        arguments = {**mail.get("custom_args", {}), **personal.get("custom_args", {})}
        details = {
            "subject": personal.get("subject", mail.get("subject", "")),
            "custom_args": arguments,
        }
        for kind in ("to", "cc", "bcc"):
            for person in personal.get(kind, ()):
                yield Arrival(
                    "sendgrid",
                    "email",
                    person["email"],
                    str(arguments.get("clarion_notification_id", "")),
                    str(arguments.get("clarion_delivery_id", "")),
                    raw,
                    json.loads,
                    message_id,
                    details,
                )


def _fault(mail: Any) -> tuple[str | None, str] | None:
    """Field and words of the first fault that SendGrid would find, or None."""
    if not isinstance(mail, dict):
        return None, "Bad Request"
    people = mail.get("personalizations")
    if not isinstance(people, list) or not people:
        return (
            "personalizations",
            "The personalizations field is required and must have at least one "
            "personalization.",
        )
    for index, personal in enumerate(people):
        fault = _personal_fault(personal, f"personalizations.{index}", mail)
        if fault is not None:
            return fault
    if not _is_address(mail.get("from")):
        return "from.email", "The from email does not contain a valid address."
    contents = mail.get("content")
    if not mail.get("template_id") and (
        not isinstance(contents, list)
        or not contents
        or not all(isinstance(c, dict) and c.get("value") for c in contents)
    ):
        return (
            "content",
            "Unless a valid template_id is provided, the content parameter is "
            "required. There must be at least one defined content block. We typically "
            "suggest both text/plain and text/html blocks are included, but only one "
            "block is required.",
        )
    return None


def _personal_fault(
    personal: Any, path: str, mail: dict[str, Any]
) -> tuple[str, str] | None:
    if not isinstance(personal, dict) or not isinstance(personal.get("to"), list):
        return (
            f"{path}.to",
            "The to array is required for all personalization objects, and must have "
            "at least one email object with a valid email address.",
        )
    for kind in ("to", "cc", "bcc"):
        for index, person in enumerate(personal.get(kind, ())):
            if not _is_address(person):
                return (
                    f"{path}.{kind}.{index}.email",
                    "Does not contain a valid address.",
                )
    if not (mail.get("subject") or personal.get("subject") or mail.get("template_id")):
        return (
            "subject",
            "The subject is required. You can get around this requirement if you use a "
            "template with a subject defined or if every personalization has a subject "
            "defined.",
        )
    return None


def _is_address(value: Any) -> bool:
    text = value.get("email") if isinstance(value, dict) else None
    return isinstance(text, str) and "@" in text.strip("@")


def _error(
    status: int,
    *headers: tuple[str, str],
    message: str | None = None,
    field: str | None = None,
) -> Reply:
    words = message or _MESSAGES.get(status, "error")
    error = {"message": words, "field": field, "help": None}
    return json_reply(status, {"errors": [error]}, *headers)
