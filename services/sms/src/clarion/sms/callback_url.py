"""The status callback's URL: a receipt says by it whose it is, so none is looked up.

The provider signs the whole URL, so what stands in it can be believed as soon as the
signature is right. No person is named in it: it ends up in the provider's logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.runtime.caller import is_tenant

PATH = "/webhooks/sms/twilio"

CONNECTION_OVERRIDES = "#rc=5&rp=all"
"""Twilio's webhook connection overrides: without them a callback that is answered
with an error (here: not stored) is never repeated."""


@dataclass(frozen=True, slots=True)
class DeliveryRef:
    """The delivery that a receipt is about."""

    tenant: str
    notification_id: str
    delivery_id: str
    type: str = ""


def callback_url(public_url: str, job: DeliveryJob) -> str:
    """Where the provider posts what became of this job."""
    query = urlencode(
        (
            ("tenant", job.tenant_id),
            ("notification_id", job.notification_id),
            ("delivery_id", job.delivery_id),
            ("notification_type", job.type),
        )
    )
    return f"{public_url}{PATH}?{query}{CONNECTION_OVERRIDES}"


def delivery_ref(url: str) -> DeliveryRef | None:
    """Reads a URL that ``callback_url`` made; None for any other."""
    query = dict(parse_qsl(urlsplit(url).query))
    ref = DeliveryRef(
        query.get("tenant", ""),
        query.get("notification_id", ""),
        query.get("delivery_id", ""),
        query.get("notification_type", ""),
    )
    if not (is_tenant(ref.tenant) and ref.notification_id and ref.delivery_id):
        return None
    return ref
