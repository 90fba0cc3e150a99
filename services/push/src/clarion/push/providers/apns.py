"""Apple Push Notification service: notifications and what its answers mean.

https://developer.apple.com/documentation/usernotifications/
sending-notification-requests-to-apns, handling-notification-responses-from-apns
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote as quote_path

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.data_text import object_text, quote
from clarion.push.providers.apns_headers import collapse_id, priority
from clarion.push.providers.posting import Posting
from clarion.push.providers.verdict import (
    BAD_PAYLOAD,
    BAD_TOKEN,
    DOWN,
    GONE,
    LIMITED,
    OUR_SETTINGS,
    TOO_LARGE,
    Verdict,
    by_status,
)
from clarion.runtime.delivery import Outcome, OutcomeKind
from clarion.runtime.http.transport import Answer

MAX_BYTES = 4096

REASONS: dict[str, Verdict] = {
    # A delivery does not say since when its token is registered, so the timestamp of a
    # 410 has nothing to be compared with: gone is gone. The app registers it again.
    "Unregistered": GONE,
    "ExpiredToken": GONE,
    "BadDeviceToken": BAD_TOKEN,
    "DeviceTokenNotForTopic": BAD_TOKEN,
    "MissingDeviceToken": BAD_TOKEN,
    "PayloadTooLarge": TOO_LARGE,
    "PayloadEmpty": BAD_PAYLOAD,
    "BadCollapseId": BAD_PAYLOAD,
    "BadExpirationDate": BAD_PAYLOAD,
    "BadMessageId": BAD_PAYLOAD,
    "BadPriority": BAD_PAYLOAD,
    "DuplicateHeaders": BAD_PAYLOAD,
    "InvalidPushType": BAD_PAYLOAD,
    "BadTopic": OUR_SETTINGS,
    "MissingTopic": OUR_SETTINGS,
    "TopicDisallowed": OUR_SETTINGS,
    "BadCertificate": OUR_SETTINGS,
    "BadCertificateEnvironment": OUR_SETTINGS,
    "BadEnvironmentKeyIdInToken": OUR_SETTINGS,
    "UnrelatedKeyIdInToken": OUR_SETTINGS,
    "InvalidProviderToken": OUR_SETTINGS,
    "MissingProviderToken": OUR_SETTINGS,
    "Forbidden": OUR_SETTINGS,
    "BadPath": OUR_SETTINGS,
    "MethodNotAllowed": OUR_SETTINGS,
    "TooManyRequests": LIMITED,
    "TooManyProviderTokenUpdates": LIMITED,
    "IdleTimeout": DOWN,
    "InternalServerError": DOWN,
    "ServiceUnavailable": DOWN,
    "Shutdown": DOWN,
}
"""By reason. ExpiredProviderToken is not here: it asks for a new provider token."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class ApnsDialect:
    """Requests and answers of POST /3/device/{token}."""

    def __init__(self, topic: str) -> None:
        """``topic`` is the app's bundle id."""
        self._topic = f"apns-topic: {topic}"

    def posting(
        self, job: DeliveryJob, authorization: str, now: float
    ) -> Posting | Outcome:
        content, token = job.content, job.target.address
        body = payload(job)
        if len(body) > MAX_BYTES:
            return Outcome.failed("payload_too_large")
        is_shown = bool(content.title or content.body)
        headers = [
            authorization,
            self._topic,
            "content-type: application/json",
            "accept:",
            "apns-push-type: alert" if is_shown else "apns-push-type: background",
            f"apns-priority: {priority(job.priority, is_shown)}",
        ]
        if _UUID.fullmatch(job.delivery_id):
            headers.append(f"apns-id: {job.delivery_id}")
        if job.HasField("expires_time"):
            headers.append(f"apns-expiration: {job.expires_time.seconds}")
        if job.collapse_key:
            headers.append(f"apns-collapse-id: {collapse_id(job.collapse_key)}")
        if not (token.isascii() and token.isalnum()):
            token = quote_path(token, safe="")
        return f"/3/device/{token}", headers, body

    def outcome(self, answer: Answer) -> Outcome | None:
        if answer.status == 200:
            return Outcome(
                OutcomeKind.SENT,
                provider_message_id=answer.header("apns-id"),
                latency=answer.latency,
            )
        reason = _reason(answer.body)
        if reason == "ExpiredProviderToken":
            return None
        verdict = REASONS.get(reason) or by_status(answer.status)
        if not reason and answer.status == 410:
            verdict = GONE
        return verdict.outcome(answer, reason or str(answer.status))


def payload(job: DeliveryJob) -> bytes:
    """The request body. What is not shown wakes the app in the background."""
    content = job.content
    if content.title or content.body:
        alert = ",".join(
            f'"{name}":{quote(text)}'
            for name, text in (("title", content.title), ("body", content.body))
            if text
        )
        aps = f'"alert":{{{alert}}},"sound":"default"'
        thread = job.category or job.type
        if thread:
            aps += f',"thread-id":{quote(thread)}'
    else:
        aps = '"content-available":1'
    data = ""
    if content.HasField("data"):
        data = f',"data":{object_text(content.data)}'
    return (
        f'{{"aps":{{{aps}}}'
        f',"clarion_notification_id":{quote(job.notification_id)}'
        f',"clarion_delivery_id":{quote(job.delivery_id)}{data}}}'
    ).encode()


def _reason(body: bytes) -> str:
    try:
        reason = json.loads(body)["reason"]
    except (ValueError, TypeError, KeyError):
        return ""
    return reason if isinstance(reason, str) else ""
