"""Twilio Messages API: send, read, status callbacks and messages from people."""

from __future__ import annotations

import base64
import hmac
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from clarion.sandbox import catalog
from clarion.sandbox.connection_overrides import overrides_of
from clarion.sandbox.exchange import Reply, Request, json_reply, retry_header, settle
from clarion.sandbox.receipts import Post, ReceiptSender
from clarion.sandbox.record import FULL_RECORDS, Arrival, Store
from clarion.sandbox.script import Action, Script, ScriptedReceipt

USUAL_RECEIPTS = (
    ScriptedReceipt("sent", 0.02),
    ScriptedReceipt("delivered", 0.1),
)
USUAL_ERROR_CODES = {"undelivered": "30003", "failed": "30008"}
_RANKS = {"queued": 0, "sending": 1, "sent": 2, "delivered": 3, "undelivered": 3}
_RANKS |= {"failed": 3, "read": 4}
_PATH = re.compile(r"/2010-04-01/Accounts/([^/]+)/Messages(?:/(\w+))?\.json")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_OPT_OUT = {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE"}
_OPT_OUT |= {"OPTOUT"}
_OPT_IN = {"START", "YES", "UNSTOP"}
_HELP = {"HELP", "INFO"}


def signature(token: str, url: str, params: Mapping[str, str]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the URL and the sorted parameters."""
    text = url + "".join(f"{name}{params[name]}" for name in sorted(params))
    digest = hmac.digest(token.encode(), text.encode(), "sha1")
    return base64.b64encode(digest).decode()


class Twilio:
    """One Twilio account."""

    def __init__(
        self,
        store: Store,
        script: Script,
        receipts: ReceiptSender,
        *,
        account_sid: str,
        auth_token: str,
        usual_receipts: bool,
    ) -> None:
        self._store = store
        self._script = script
        self._receipts = receipts
        self._sid = account_sid
        self._token = auth_token
        self._usual = USUAL_RECEIPTS if usual_receipts else ()
        plain = f"{account_sid}:{auth_token}".encode()
        self._authorization = "Basic " + base64.b64encode(plain).decode()
        self._messages: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._callbacks: dict[str, str] = {}
        self._opted_out: set[tuple[str, str]] = set()

    def clear(self) -> None:
        """Forget messages and opt-outs."""
        self._messages.clear()
        self._callbacks.clear()
        self._opted_out.clear()

    def handle(self, request: Request) -> Reply:
        match = _PATH.fullmatch(request.path)
        if match is None:
            return _error("20404")
        given = request.headers.get("authorization", "")
        if match[1] != self._sid or not hmac.compare_digest(
            given.encode(), self._authorization.encode()
        ):
            self._store.refused("twilio", "20003")
            return _error("20003")
        if match[2] is not None and request.method == "GET":
            message = self._messages.get(match[2])
            return json_reply(200, message) if message else _error("20404")
        if match[2] is not None or request.method != "POST":
            return _error("20004")
        return self._create(request)

    def _create(self, request: Request) -> Reply:
        form = _form(request.body)
        to, sender = form.get("To", ""), form.get("From", "")
        callback = form.get("StatusCallback", "")
        ids = _callback_query(callback)
        sid = "SM" + uuid.uuid4().hex
        arrival = Arrival(
            "twilio",
            "sms",
            to,
            *_ids(ids or {}),
            request.body,
            _form,
            sid,
        )
        fault = _fault(form, is_reachable=not callback or ids is not None)
        if fault is None and (to, sender) in self._opted_out:
            fault = "21610"
        if fault is not None:
            self._store.add(arrival, fault, accepted=False)
            return _error(fault)
        message = self._resource(sid, form)
        reply, action, accepted = settle(
            self._store, self._script, arrival, json_reply(201, message), _refuse
        )
        if accepted:
            self._remember(sid, message, callback)
            self._plan(sid, action)
        return reply

    def _remember(self, sid: str, message: dict[str, Any], callback: str) -> None:
        self._messages[sid] = message
        if callback:
            self._callbacks[sid] = callback
        if len(self._messages) > FULL_RECORDS:
            oldest, _ = self._messages.popitem(last=False)
            self._callbacks.pop(oldest, None)

    def _plan(self, sid: str, action: Action | None) -> None:
        planned: tuple[ScriptedReceipt, ...] = self._usual
        if action is not None and action.silent:
            planned = ()
        elif action is not None and action.receipts is not None:
            planned = action.receipts
        for receipt in planned:
            self._receipts.call_later(
                receipt.after_seconds, partial(self.fire, sid, receipt)
            )

    def fire(self, sid: str, receipt: ScriptedReceipt) -> bool:
        """Set a message's state and post its callback; False when it is unknown."""
        message = self._messages.get(sid)
        if message is None:
            return False
        code = receipt.error_code or USUAL_ERROR_CODES.get(receipt.status, "")
        if _RANKS[receipt.status] >= _RANKS[message["status"]]:
            now = _now()
            message["status"] = receipt.status
            message["date_updated"] = now
            message["error_code"] = int(code) if code.isdigit() else None
            if receipt.status == "sent":
                message["date_sent"] = now
        url = self._callbacks.get(sid)
        if url is None:
            return True
        params = {
            "AccountSid": self._sid,
            "ApiVersion": "2010-04-01",
            "From": message["from"] or "",
            "MessageSid": sid,
            "MessageStatus": receipt.status,
            "SmsSid": sid,
            "SmsStatus": receipt.status,
            "To": message["to"],
        }
        if code:
            params["ErrorCode"] = code
        if receipt.status in ("delivered", "undelivered"):
            params["RawDlrDoneDate"] = time.strftime("%y%m%d%H%M", time.gmtime())
        self._post(receipt.status, sid, url, params)
        return True

    def receive(self, sender: str, to: str, body: str) -> bool:
        """Post a message from a person; False when no webhook is configured for it."""
        word = body.strip().upper()
        opt_out = ""
        if word in _OPT_OUT:
            opt_out = "STOP"
            self._opted_out.add((sender, to))
        elif word in _OPT_IN:
            opt_out = "START"
            self._opted_out.discard((sender, to))
        elif word in _HELP:
            opt_out = "HELP"
        url = self._receipts.webhooks.twilio_inbound_url
        if not url:
            return False
        sid = "SM" + uuid.uuid4().hex
        params = {
            "AccountSid": self._sid,
            "ApiVersion": "2010-04-01",
            "Body": body,
            "From": sender,
            "MessageSid": sid,
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsMessageSid": sid,
            "SmsSid": sid,
            "SmsStatus": "received",
            "To": to,
        }
        if opt_out:
            params["OptOutType"] = opt_out
        self._post("inbound", sid, url, params)
        return True

    def _post(self, event: str, sid: str, url: str, params: dict[str, str]) -> None:
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "user-agent": "TwilioProxy/1.1",
            "x-twilio-signature": signature(self._token, url, params),
            "i-twilio-idempotency-token": str(uuid.uuid4()),
        }
        body = urlencode(params).encode()
        overrides = overrides_of(url)
        self._receipts.send(
            Post(
                *("twilio", event, sid, url),
                sign=lambda: (headers, body),
                retries=overrides.retries,
                retry_on_status=overrides.retry_on_status,
            )
        )

    def _resource(self, sid: str, form: Mapping[str, str]) -> dict[str, Any]:
        now = _now()
        uri = f"/2010-04-01/Accounts/{self._sid}/Messages/{sid}"
        return {
            "account_sid": self._sid,
            "api_version": "2010-04-01",
            "body": form["Body"],
            "date_created": now,
            "date_sent": None,
            "date_updated": now,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "num_media": "0",
            "num_segments": str(_segments(form["Body"])),
            "price": None,
            "price_unit": "USD",
            "sid": sid,
            "status": "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": form["To"],
            "uri": f"{uri}.json",
        }


def _now() -> str:
    return _date(int(time.time()))


@lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True).replace("GMT", "+0000")


def _ids(query: Mapping[str, str]) -> tuple[str, str]:
    return query.get("notification_id", ""), query.get("delivery_id", "")


def _fault(form: Mapping[str, str], *, is_reachable: bool) -> str | None:
    to, sender = form.get("To", ""), form.get("From", "")
    if not to:
        return "21604"
    if not _E164.fullmatch(to):
        return "21211"
    if not sender and not form.get("MessagingServiceSid"):
        return "21603"
    if sender == to:
        return "21266"
    if not form.get("Body"):
        return "21602"
    if len(form["Body"]) > 1600:
        return "21617"
    return None if is_reachable else "21609"


def _callback_query(url: str) -> dict[str, str] | None:
    """Query of a callback URL; None when it is no http URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return dict(parse_qsl(parts.query)) if parts.scheme in ("http", "https") else None


def _refuse(action: Action) -> tuple[Reply, str] | None:
    code = action.code or ("21211" if action.unregistered else None)
    if code is None:
        if (action.status or 200) < 300:
            return None
        code = catalog.TWILIO_DEFAULT.get(action.status or 500, "20500")
    return _error(code, *retry_header(action), status=action.status), code


def _error(code: str, *headers: tuple[str, str], status: int | None = None) -> Reply:
    usual, message = catalog.TWILIO[code]
    status = status or usual
    document = {
        "code": int(code),
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    if status == 401:
        headers = (*headers, ("www-authenticate", 'Basic realm="Twilio API"'))
    return json_reply(status, document, *headers)


def _form(raw: bytes) -> dict[str, str]:
    return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))


def _segments(body: str) -> int:
    """Parts of a message: 160/153 septets, or 70/67 for text beyond Latin-1.

    An approximation of the GSM alphabet, good for a number that nobody is billed by.
    """
    single, joined = (160, 153) if body.isascii() else (70, 67)
    return 1 if len(body) <= single else -(-len(body) // joined)
