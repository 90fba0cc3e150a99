"""Apple Push Notification service: POST /3/device/{token} with a provider token."""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from clarion.sandbox import catalog
from clarion.sandbox.credentials import (
    APNS_KEY_ID,
    APNS_TEAM_ID,
    BadTokenError,
    verified_claims,
)
from clarion.sandbox.exchange import Reply, Request, retry_header, settle
from clarion.sandbox.record import Arrival, Store
from clarion.sandbox.script import Action, Script

PROVIDER_TOKEN_SECONDS = 3600
"""Apple refuses a provider token whose `iat` is older."""
MAX_PAYLOAD_BYTES = {"voip": 5120}
_PAYLOAD_BYTES = 4096
_PREFIX = "/3/device/"
# Apple's tokens are hex today and of no promised form; a test may give any opaque word.
_TOKEN = re.compile(r"[A-Za-z0-9_:.-]{1,200}")
_PUSH_TYPES = {
    *("alert", "background", "location", "voip", "complication", "fileprovider"),
    *("mdm", "liveactivity", "pushtotalk", "widgets", "controls"),
}


class Apns:
    """The APNs endpoint; every message is checked as Apple documents it."""

    def __init__(
        self, store: Store, script: Script, key: ec.EllipticCurvePublicKey
    ) -> None:
        self._store = store
        self._script = script
        self._key = key
        self._verified: dict[str, float] = {}

    def handle(self, request: Request) -> Reply:
        headers = request.headers
        given_id = headers.get("apns-id", "")
        apns_id = given_id or str(uuid.uuid4()).upper()
        if not request.path.startswith(_PREFIX):
            return _error("BadPath", apns_id)
        if request.method != "POST":
            return _error("MethodNotAllowed", apns_id)
        fault = self._provider_fault(headers.get("authorization", ""))
        if fault is not None:
            self._store.refused("apns", fault)
            return _error(fault, apns_id)
        payload, fault = _payload(request)
        token = request.path[len(_PREFIX) :]
        arrival = Arrival(
            "apns",
            "push",
            token,
            str(payload.get("clarion_notification_id", "")),
            str(payload.get("clarion_delivery_id", "")),
            request.body,
            _read,
            apns_id,
            {name: value for name, value in headers.items() if name[:5] == "apns-"},
        )
        fault = fault or _fault(token, request)
        if fault is not None:
            self._store.add(arrival, fault, accepted=False)
            return _error(fault, apns_id)
        accepted = Reply(200, b"", (("apns-id", apns_id),))
        return settle(
            self._store,
            self._script,
            arrival,
            accepted,
            lambda action: _refuse(action, apns_id),
        )[0]

    def _provider_fault(self, authorization: str) -> str | None:
        """Why the provider token is refused; a good one is verified only once."""
        now = time.time()
        expires = self._verified.get(authorization)
        if expires is None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer" or not token:
                return "MissingProviderToken"
            try:
                header, claims = verified_claims(token, self._key)
            except BadTokenError:
                return "InvalidProviderToken"
            issued = claims.get("iat")
            if (
                header.get("kid") != APNS_KEY_ID
                or claims.get("iss") != APNS_TEAM_ID
                or not isinstance(issued, int)
                or issued > now + 300
            ):
                return "InvalidProviderToken"
            expires = issued + PROVIDER_TOKEN_SECONDS
            self._verified = {a: e for a, e in self._verified.items() if e > now}
            self._verified[authorization] = expires
        return "ExpiredProviderToken" if expires <= now else None


def _payload(request: Request) -> tuple[dict[str, Any], str | None]:
    if not request.body:
        return {}, "PayloadEmpty"
    push_type = request.headers.get("apns-push-type", "")
    if len(request.body) > MAX_PAYLOAD_BYTES.get(push_type, _PAYLOAD_BYTES):
        return {}, "PayloadTooLarge"
    payload = _read(request.body)
    # Apple answers PayloadEmpty for a body that is no JSON object as well.
    return (payload, None) if isinstance(payload, dict) else ({}, "PayloadEmpty")


def _fault(token: str, request: Request) -> str | None:
    headers = request.headers
    if not token:
        return "MissingDeviceToken"
    if not _TOKEN.fullmatch(token):
        return "BadDeviceToken"
    if not headers.get("apns-topic"):
        return "MissingTopic"
    priority = headers.get("apns-priority", "10")
    push_type = headers.get("apns-push-type", "alert")
    if push_type not in _PUSH_TYPES:
        return "InvalidPushType"
    # A background push of priority 10 is an error by Apple's documents.
    if priority not in ("1", "5", "10") or (
        push_type == "background" and headers.get("apns-priority") == "10"
    ):
        return "BadPriority"
    expiration = headers.get("apns-expiration", "0")
    if not (expiration.isascii() and expiration.isdigit()):
        return "BadExpirationDate"
    if len(headers.get("apns-collapse-id", "").encode()) > 64:
        return "BadCollapseId"
    given_id = headers.get("apns-id", "")
    if given_id:
        try:
            uuid.UUID(given_id)
        except ValueError:
            return "BadMessageId"
    return None


def _refuse(action: Action, apns_id: str) -> tuple[Reply, str] | None:
    reason = action.code or ("Unregistered" if action.unregistered else None)
    if reason is None:
        if (action.status or 200) < 300:
            return None
        reason = catalog.APNS_DEFAULT.get(action.status or 500, "InternalServerError")
    reply = _error(reason, apns_id, *retry_header(action), status=action.status)
    return reply, reason


def _error(
    reason: str, apns_id: str, *headers: tuple[str, str], status: int | None = None
) -> Reply:
    status = status or catalog.APNS[reason][0]
    document: dict[str, Any] = {"reason": reason}
    if status == 410:
        document["timestamp"] = int(time.time() * 1000)
    body = json.dumps(document, separators=(",", ":")).encode()
    return Reply(status, body, (("apns-id", apns_id), *headers))


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")
