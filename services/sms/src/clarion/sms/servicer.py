"""WebhookService of the channel: checks the signature and takes the form apart."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import grpc
from google.api.httpbody_pb2 import HttpBody
from multidict import MultiDict

from clarion.api.channel.v1 import webhook_service_pb2 as pb
from clarion.api.channel.v1.webhook_service_pb2_grpc import WebhookServiceServicer
from clarion.runtime.errors import (
    InvalidArgumentError,
    InvalidSignatureError,
    NotFoundError,
)
from clarion.runtime.interceptors.rpc import PATH_METADATA
from clarion.sms import metrics
from clarion.sms.callback_url import delivery_ref
from clarion.sms.callbacks import read_form
from clarion.sms.receiving import Receiving
from clarion.sms.signature import (
    SETTINGS_METADATA,
    SIGNATURE_METADATA,
    SignatureCheck,
)
from clarion.sms.suppressing import CHANNEL, SOURCE

_MOST_FIELDS = 200
_NOTHING_TO_SAY = pb.ReceiveWebhookResponse(
    raw=HttpBody(content_type="text/xml", data=b"<Response/>")
)


class WebhookServicer(WebhookServiceServicer):
    """Takes Twilio's status callbacks and the texts that people write."""

    def __init__(
        self, public_url: str, signatures: SignatureCheck, receiving: Receiving
    ) -> None:
        self._public_url = public_url.rstrip("/")
        self._signatures = signatures
        self._receiving = receiving

    async def ReceiveWebhook(
        self,
        request: pb.ReceiveWebhookRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pb.ReceiveWebhookResponse:
        """See the contract."""
        if request.channel != CHANNEL or request.provider != SOURCE:
            name = f"{request.channel}/{request.provider}"
            raise NotFoundError.of("provider", name)
        metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        url = self._public_url + metadata.get(PATH_METADATA, "")
        form = _form(request.raw.data)
        if not self._signatures.is_valid(
            url,
            form,
            metadata.get(SIGNATURE_METADATA, ""),
            metadata.get(SETTINGS_METADATA, ""),
        ):
            metrics.record_refused()
            raise InvalidSignatureError("the signature of the webhook does not match")
        await self._receiving.receive(read_form(form), delivery_ref(url))
        return _NOTHING_TO_SAY


def _form(data: bytes) -> MultiDict[str]:
    try:
        pairs = parse_qsl(
            data.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:  # not UTF-8, or too many fields
        raise InvalidArgumentError.of("raw.data", "is not a web form") from None
    return MultiDict(pairs)
