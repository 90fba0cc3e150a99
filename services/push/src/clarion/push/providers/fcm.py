"""Firebase Cloud Messaging, HTTP v1: messages and what its answers mean.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.data_text import plain_texts, quote
from clarion.push.providers.apns_headers import collapse_id, priority
from clarion.push.providers.posting import Posting
from clarion.push.providers.verdict import (
    BAD_PAYLOAD,
    BAD_TOKEN,
    DOWN,
    GONE,
    LIMITED,
    OUR_SETTINGS,
    Verdict,
    by_status,
)
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.http.transport import Answer

MAX_BYTES = 4096
"""Of title, body and data together."""
_MAX_TTL = 28 * 24 * 3600
# FCM's own rule for a 429 that does not say how long.
_QUOTA_WAIT = timedelta(seconds=60)

ERRORS: dict[str, Verdict] = {
    "UNREGISTERED": GONE,
    "SENDER_ID_MISMATCH": Verdict(OutcomeKind.FAILED, "sender_id_mismatch"),
    "THIRD_PARTY_AUTH_ERROR": OUR_SETTINGS,
    "QUOTA_EXCEEDED": LIMITED,
    "UNAVAILABLE": DOWN,
    "INTERNAL": DOWN,
}
"""By the errorCode of FcmError. INVALID_ARGUMENT depends on the field it is about."""

_OUR_KEYS = frozenset({"clarion_notification_id", "clarion_delivery_id"})
_NAME = re.compile(rb'"name"\s*:\s*"([^"\\]+)"')
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


class FcmDialect:
    """Requests and answers of messages:send."""

    def __init__(self, project: str) -> None:
        self._path = f"/v1/projects/{project}/messages:send"
        self._headers: list[str] = []
        self._authorization = ""

    def posting(
        self, job: DeliveryJob, authorization: str, now: float
    ) -> Posting | Outcome:
        if authorization != self._authorization:
            self._authorization = authorization
            self._headers = [authorization, "content-type: application/json", "accept:"]
        body = message(job, now)
        if len(body) > MAX_BYTES and _counted(body) > MAX_BYTES:
            return Outcome.failed("payload_too_large")
        return self._path, self._headers, body

    def outcome(self, answer: Answer) -> Outcome | None:
        if answer.status == 200:
            name = _NAME.search(answer.body)
            if name is None and not answer.error:
                # Not FCM's answer: nobody knows what became of the message.
                return Outcome(
                    OutcomeKind.UNKNOWN, "unexpected_answer", latency=answer.latency
                )
            return Outcome(
                OutcomeKind.SENT,
                provider_message_id=name[1].decode("latin-1") if name else "",
                latency=answer.latency,
            )
        code, status, about_token = _error(answer.body)
        if answer.status == 401 and code != "THIRD_PARTY_AUTH_ERROR":
            return None
        if code == "INVALID_ARGUMENT":
            verdict = BAD_TOKEN if about_token else BAD_PAYLOAD
        else:
            verdict = ERRORS.get(code) or by_status(answer.status)
        wait = _QUOTA_WAIT if verdict is LIMITED else None
        return verdict.outcome(answer, code or status or str(answer.status), wait)


def message(job: DeliveryJob, now: float) -> bytes:
    """The request body: one message to one token."""
    content, target = job.content, job.target
    parts = ['{"message":{"token":', quote(target.address)]
    if content.title:
        parts += ',"notification":{"title":', quote(content.title)
        if content.body:
            parts += ',"body":', quote(content.body)
        parts.append("}")
    elif content.body:
        parts += ',"notification":{"body":', quote(content.body), "}"
    parts.append(',"data":{')
    for key, text in plain_texts(content.data):
        # The sender's values must not take the place of ours.
        if key not in _OUR_KEYS:
            parts += quote(key), ":", quote(text), ","
    parts += (
        '"clarion_notification_id":',
        quote(job.notification_id),
        ',"clarion_delivery_id":',
        quote(job.delivery_id),
        "},",
        _platform_options(job, now),
        "}}",
    )
    return "".join(parts).encode()


def _platform_options(job: DeliveryJob, now: float) -> str:
    """How the platform's own transport is to treat the message."""
    expires = job.expires_time.seconds if job.HasField("expires_time") else 0
    seconds = min(max(expires - int(now), 0), _MAX_TTL)
    platform = job.target.platform
    if platform == "ios":
        return _apns_options(job, expires)
    if platform == "web":
        urgency = "normal" if job.priority == "low" else "high"
        ttl = f',"TTL":"{seconds}"' if expires else ""
        return f'"webpush":{{"headers":{{"Urgency":"{urgency}"{ttl}}}}}'
    urgency = "NORMAL" if job.priority == "low" else "HIGH"
    options = f'"android":{{"priority":"{urgency}"'
    if expires:
        options += f',"ttl":"{seconds}s"'
    if job.collapse_key:
        key = quote(job.collapse_key)
        # The tag does for what is shown already what the key does for what waits.
        options += f',"collapse_key":{key},"notification":{{"tag":{key}}}'
    options += "}"
    return options if platform else f"{options},{_apns_options(job, expires)}"


def _apns_options(job: DeliveryJob, expires: int) -> str:
    is_shown = bool(job.content.title or job.content.body)
    headers = f'"apns-priority":"{priority(job.priority, is_shown)}"'
    if expires:
        headers += f',"apns-expiration":"{expires}"'
    if job.collapse_key:
        headers += f',"apns-collapse-id":{quote(collapse_id(job.collapse_key))}'
    aps = '"sound":"default"' if is_shown else '"content-available":1'
    return f'"apns":{{"headers":{{{headers}}},"payload":{{"aps":{{{aps}}}}}}}'


def _counted(body: bytes) -> int:
    """The bytes that FCM counts: what is shown, and data with its keys."""
    sent = json.loads(body)["message"]
    texts = list(sent.get("notification", {}).values())
    for item in sent["data"].items():
        texts += item
    return sum(len(text.encode()) for text in texts)


def _error(body: bytes) -> tuple[str, str, bool]:
    """FcmError's errorCode, the RPC status, and whether the token is at fault."""
    try:
        error = json.loads(body)["error"]
        status = error.get("status", "")
        details = [each for each in error.get("details", ()) if isinstance(each, dict)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return "", "", False
    code = next(
        (d.get("errorCode", "") for d in details if d.get("@type") == _FCM_ERROR), ""
    )
    fields = [
        violation.get("field", "")
        for detail in details
        for violation in detail.get("fieldViolations", ())
    ]
    if fields:
        about_token = any(field == "message.token" for field in fields)
    else:
        about_token = "registration token" in str(error.get("message", "")).lower()
    return _text(code), _text(status), about_token


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
