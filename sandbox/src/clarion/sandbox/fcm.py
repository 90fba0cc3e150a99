"""Firebase Cloud Messaging: HTTP v1 messages:send and Google's OAuth token endpoint."""

from __future__ import annotations

import json
import re
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa

from clarion.sandbox import catalog
from clarion.sandbox.credentials import CLIENT_EMAIL, BadTokenError, verified_claims
from clarion.sandbox.exchange import Reply, Request, json_reply, retry_header, settle
from clarion.sandbox.record import Arrival, Store
from clarion.sandbox.script import OAUTH, Action, Script

TOKEN_SECONDS = 3599
"""Life of an access token, as Google gives it."""
MAX_DATA_BYTES = 4096
_SEND_PATH = re.compile(r"/v1/projects/([^/:]+)/messages:send")
_SCOPES = {
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
}
# google-auth signs for Google's own endpoint whatever the credentials' token_uri says.
_GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_NO_CREDENTIAL = (
    "Request is missing required authentication credential. Expected OAuth 2 access "
    "token, login cookie or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project."
)
_BAD_CREDENTIAL = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, "
    "login cookie or other valid authentication credential. See "
    "https://developers.google.com/identity/sign-in/web/devconsole-project."
)


class Fcm:
    """The FCM endpoint and the token endpoint that its credentials come from."""

    def __init__(
        self, store: Store, script: Script, account_key: rsa.RSAPublicKey
    ) -> None:
        self._store = store
        self._script = script
        self._account_key = account_key
        self._tokens: dict[str, float] = {}
        self._sent = 0
        self.token_uri = ""

    def handle(self, request: Request) -> Reply:
        if request.path == "/token":
            return self._token(request)
        match = _SEND_PATH.fullmatch(request.path)
        if match is None:
            return _error(404, "Requested entity was not found.")
        if request.method != "POST":
            return _error(405, "Method not allowed.")
        return self._send(match[1], request)

    def _send(self, project: str, request: Request) -> Reply:
        refused = self._unauthenticated(request.headers.get("authorization", ""))
        if refused is not None:
            return refused
        try:
            document = json.loads(request.body)
        except ValueError:
            self._store.refused("fcm", "INVALID_ARGUMENT")
            return _error(400, "Invalid JSON payload received. Unexpected token.")
        problem = _problem(document)
        message = document.get("message") if isinstance(document, dict) else None
        message = message if isinstance(message, dict) else {}
        data = message.get("data")
        data = data if isinstance(data, dict) else {}
        self._sent += 1
        name = (
            f"projects/{project}/messages/0:{time.time_ns() // 1000}%{self._sent:016x}"
        )
        arrival = Arrival(
            "fcm",
            "push",
            _target(message),
            str(data.get("clarion_notification_id", "")),
            str(data.get("clarion_delivery_id", "")),
            request.body,
            json.loads,
            name,
        )
        if problem is not None:
            self._store.add(arrival, "INVALID_ARGUMENT", accepted=False)
            return _invalid(*problem)
        accepted = Reply(200, f'{{\n  "name": "{name}"\n}}\n'.encode(), _JSON)
        if document.get("validate_only") is True:
            self._store.add(arrival, "validated", accepted=False)
            return accepted
        return settle(self._store, self._script, arrival, accepted, _refuse)[0]

    def _unauthenticated(self, authorization: str) -> Reply | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and self._tokens.get(token, 0) > time.time():
            return None
        self._store.refused("fcm", "UNAUTHENTICATED")
        missing = not token
        reason = "CREDENTIALS_MISSING" if missing else "ACCESS_TOKEN_INVALID"
        detail = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
            "metadata": {
                "method": "google.firebase.fcm.v1.FcmService.SendMessage",
                "service": "fcm.googleapis.com",
            },
        }
        challenge = 'Bearer realm="https://accounts.google.com/"'
        if not missing:
            challenge += ', error="invalid_token"'
        return _error(
            401,
            _NO_CREDENTIAL if missing else _BAD_CREDENTIAL,
            [detail],
            ("www-authenticate", challenge),
        )

    def _token(self, request: Request) -> Reply:
        """RFC 7523 grant: the service account's key must have signed the assertion."""
        if request.method != "POST":
            return json_reply(405, {"error": "invalid_request"})
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if form.get("grant_type") != [_GRANT]:
            return _grant_error("unsupported_grant_type", "Invalid grant_type")
        try:
            _, claims = verified_claims(
                form.get("assertion", [""])[0], self._account_key
            )
        except BadTokenError:
            return _grant_error("invalid_grant", "Invalid JWT Signature.")
        if claims.get("iss") != CLIENT_EMAIL:
            return _grant_error("invalid_grant", "Invalid grant: account not found")
        if claims.get("aud") not in (self.token_uri, _GOOGLE_AUDIENCE):
            return _grant_error("invalid_grant", "Invalid JWT: Failed audience check.")
        issued, expires, now = claims.get("iat"), claims.get("exp"), time.time()
        if not (
            isinstance(issued, int)
            and isinstance(expires, int)
            and issued <= now + 300
            and now < expires <= issued + 3600
        ):
            return _grant_error(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a "
                "reasonable timeframe. Check your iat and exp values in the JWT claim.",
            )
        if not _SCOPES & set(str(claims.get("scope", "")).split()):
            return _grant_error("invalid_scope", "Invalid OAuth scope or ID token.")
        return self._issue(now)

    def _issue(self, now: float) -> Reply:
        action = self._script.action_for(OAUTH, "", CLIENT_EMAIL)
        if action is not None and (action.hang_up or action.status is not None):
            status = action.status or 503
            reply = json_reply(
                status,
                action.body or {"error": "internal_failure"},
                *retry_header(action),
            )
            return Reply(
                status,
                reply.body,
                reply.headers,
                action.delay_seconds,
                hang_up=action.hang_up is not None,
            )
        self._tokens = {t: end for t, end in self._tokens.items() if end > now}
        token = f"ya29.{secrets.token_urlsafe(96)}"
        self._tokens[token] = now + TOKEN_SECONDS
        granted = {
            "access_token": token,
            "expires_in": TOKEN_SECONDS,
            "token_type": "Bearer",
        }
        reply = json_reply(200, granted)
        delay = action.delay_seconds if action else 0.0
        return Reply(200, reply.body, reply.headers, delay)


_JSON = (("content-type", "application/json; charset=UTF-8"),)


def _refuse(action: Action) -> tuple[Reply, str] | None:
    code = action.code or ("UNREGISTERED" if action.unregistered else None)
    if code is None and (action.status or 200) < 300:
        return None
    status = action.status
    if code is None:
        # UNAUTHENTICATED is the credential's fault and no FcmError.
        code = next((c for c, (s, _) in catalog.FCM.items() if s == status), None)
        if code is None or status == 401:
            outcome = catalog.RPC_STATUS.get(status or 500, "UNKNOWN")
            text = _BAD_CREDENTIAL if status == 401 else "Request failed."
            reply = _error(status or 500, text, None, *retry_header(action))
            return reply, outcome
    default, message = catalog.FCM[code]
    details: list[dict[str, Any]] = [{"@type": _FCM_ERROR, "errorCode": code}]
    if code == "QUOTA_EXCEEDED":
        violation = {"subject": "project", "description": "Message rate exceeded"}
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [violation],
            }
        )
    reply = _error(
        status or default, message, details, *retry_header(action), rpc_of=default
    )
    return reply, code


def _problem(document: object) -> tuple[str, str] | None:
    """Field and fault of a request that FCM refuses, or None."""
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict):
        return "message", "Message is missing or no object."
    targets = [k for k in ("token", "fid", "topic", "condition") if message.get(k)]
    if len(targets) != 1:
        return "message", (
            "Recipient of the message is not set."
            if not targets
            else "Only one of token, fid, topic and condition can be set."
        )
    data = message.get("data", {})
    if not isinstance(data, dict):
        return "message.data", "Invalid value at 'message.data'."
    size = 0
    for key, value in data.items():
        if not isinstance(value, str):
            return (
                f"message.data[{key}].value",
                f"Invalid value at 'message.data[{key}].value' (TYPE_STRING), {value}",
            )
        if key in ("from", "message_type") or key.startswith(("google.", "gcm.")):
            return f"message.data[{key}]", f"Invalid data payload key: {key}"
        size += len(key.encode()) + len(value.encode())
    if size > MAX_DATA_BYTES:
        return "message", "Android message is too big"
    return None


def _target(message: dict[str, Any]) -> str:
    if message.get("topic"):
        return f"/topics/{message['topic']}"
    names = ("token", "fid", "condition")
    return str(next((message[name] for name in names if message.get(name)), ""))


def _invalid(field: str, description: str) -> Reply:
    return _error(
        400,
        description,
        [
            {"@type": _FCM_ERROR, "errorCode": "INVALID_ARGUMENT"},
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": description}],
            },
        ],
    )


def _error(
    status: int,
    message: str,
    details: list[dict[str, Any]] | None = None,
    *headers: tuple[str, str],
    rpc_of: int | None = None,
) -> Reply:
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "status": catalog.RPC_STATUS.get(rpc_of or status, "UNKNOWN"),
    }
    if details:
        error["details"] = details
    return json_reply(status, {"error": error}, *headers, indent=2)


def _grant_error(error: str, description: str) -> Reply:
    return json_reply(400, {"error": error, "error_description": description})
