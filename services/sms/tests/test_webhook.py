"""WebhookService on a real server; recipients is one too, events are in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from twilio.request_validator import RequestValidator

from clarion.api.channel.v1 import webhook_service_pb2 as pb
from clarion.api.channel.v1.webhook_service_pb2_grpc import (
    WebhookServiceStub,
    add_WebhookServiceServicer_to_server,
)
from clarion.api.event.v1 import notification_event_pb2 as event_pb
from clarion.api.recipients.v1.consent_service_pb2_grpc import ConsentServiceStub
from clarion.runtime.delivery.in_memory import make_job
from clarion.runtime.delivery.reached import InMemoryReached
from clarion.runtime.errors import UnavailableError
from clarion.runtime.jetstream import GroupPublisher, InMemoryPublisher
from clarion.runtime.testing import FakeClock, GrpcHarness, refused, serve
from clarion.sms.callback_url import CONNECTION_OVERRIDES, callback_url
from clarion.sms.receiving import Receiving
from clarion.sms.servicer import WebhookServicer
from clarion.sms.signature import SignatureCheck
from clarion.sms.suppressing import Suppressions

ADA, OURS, THEIRS = "+15550100001", "+15005550006", "+15005550007"
INBOUND = "/webhooks/sms/twilio"
JOB = make_job(channel="sms", type="order_shipped")


@dataclass
class Webhook:
    """Posts what Twilio would post through the edge."""

    stub: Any
    publisher: InMemoryPublisher
    public_url: str
    token: str

    async def post(
        self,
        form: dict[str, str],
        path: str = INBOUND,
        *,
        provider: str = "twilio",
        channel: str = "sms",
        data: bytes | None = None,
        **metadata: str,
    ) -> HttpBody:
        path = path.removeprefix(self.public_url).removesuffix(CONNECTION_OVERRIDES)
        signed = RequestValidator(self.token).compute_signature(
            self.public_url + path, form
        )
        headers = {"x_twilio_signature": signed, "x_envoy_original_path": path}
        response = await self.stub.ReceiveWebhook(
            pb.ReceiveWebhookRequest(
                channel=channel,
                provider=provider,
                raw=HttpBody(
                    content_type="application/x-www-form-urlencoded",
                    data=urlencode(form).encode() if data is None else data,
                ),
            ),
            metadata=[
                (name.replace("_", "-"), value)
                for name, value in (headers | metadata).items()
                if value
            ],
        )
        raw: HttpBody = response.raw
        return raw

    async def status(self, status: str, code: str = "", **options: Any) -> HttpBody:
        form = {"MessageSid": "SM1", "MessageStatus": status, "To": ADA, "From": OURS}
        if code:
            form["ErrorCode"] = code
        path = callback_url(self.public_url, JOB)
        return await self.post(form, **({"path": path} | options))

    async def text(self, body: str, to: str = OURS, account: str = "AC1") -> HttpBody:
        form = {"MessageSid": "SM2", "SmsStatus": "received", "AccountSid": account}
        return await self.post(form | {"From": ADA, "To": to, "Body": body})

    @property
    def events(self) -> list[event_pb.NotificationEvent]:
        return [
            event
            for message in self.publisher.on("events.sms")
            for event in event_pb.EventChunk.FromString(message.body).events
        ]


class Chain:
    """The channels that stand by: what they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.error: Exception | None = None

    async def undelivered(self, tenant: str, delivery_id: str) -> None:
        if self.error is not None:
            raise self.error
        self.told.append((tenant, delivery_id))


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def reached() -> InMemoryReached:
    return InMemoryReached()


@pytest.fixture
async def webhook(
    recipients_server: GrpcHarness,
    make_settings: Callable[..., Any],
    chain: Chain,
    reached: InMemoryReached,
) -> AsyncIterator[Webhook]:
    settings = make_settings(twilio_tenants=(f"{OURS}=demo", "AC2=bank"))
    publisher = InMemoryPublisher()
    events: GroupPublisher[bytes] = GroupPublisher(publisher, "events.sms", b"".join)
    servicer = WebhookServicer(
        settings.public_url,
        SignatureCheck(settings.twilio_auth_token, None),
        Receiving(
            events,
            Suppressions(ConsentServiceStub(recipients_server.mesh())),
            settings.tenants,
            FakeClock(),
            chain,
            reached,
        ),
    )
    async with serve((add_WebhookServiceServicer_to_server, servicer)) as harness:
        stub = WebhookServiceStub(harness.channel(key=None))
        yield Webhook(
            stub, publisher, settings.public_url, settings.twilio_auth_token.reveal()
        )
        await events.close()


CHAINED = [
    ("delivered", ["delivered"], False),
    ("read", ["read"], False),
    ("undelivered", [], True),
    ("failed", [], True),
    ("sent", [], False),
]


@pytest.mark.parametrize(("status", "marks", "passes"), CHAINED)
async def test_a_receipt_stops_an_escalation_or_gives_the_next_channel_its_turn(
    webhook: Webhook,
    chain: Chain,
    reached: InMemoryReached,
    status: str,
    marks: list[str],
    passes: bool,
) -> None:
    await webhook.status(status)
    assert reached.marks == [("demo", JOB.notification_id, mark) for mark in marks]
    assert chain.told == [("demo", JOB.delivery_id)] * passes


@pytest.mark.parametrize(
    ("double", "status"), [("chain", "failed"), ("reached", "read")]
)
async def test_a_receipt_that_cannot_be_acted_on_is_asked_for_again(
    webhook: Webhook,
    chain: Chain,
    reached: InMemoryReached,
    double: str,
    status: str,
) -> None:
    down: Any = chain if double == "chain" else reached
    down.error = UnavailableError("away")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await webhook.status(status)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    down.error = None
    await webhook.status(status)
    assert len({event.event_id for event in webhook.events}) == 1


async def test_a_receipt_becomes_an_event(webhook: Webhook) -> None:
    answer = await webhook.status("delivered")
    assert (answer.content_type, answer.data) == ("text/xml", b"<Response/>")
    [event] = webhook.events
    assert event.kind == event_pb.EVENT_KIND_DELIVERED
    assert (event.tenant_id, event.channel, event.type) == (
        "demo",
        "sms",
        "order_shipped",
    )
    assert event.notification_id == JOB.notification_id
    assert event.delivery_id == JOB.delivery_id
    assert event.HasField("occurred_time")
    assert event.receipt == event_pb.Receipt(
        provider="twilio", provider_message_id="SM1", provider_status="delivered"
    )


async def test_an_undelivered_message_says_why(
    webhook: Webhook, recipients: Any
) -> None:
    await webhook.status("undelivered", "30003")
    [event] = webhook.events
    assert event.kind == event_pb.EVENT_KIND_UNDELIVERED
    assert event.reason == "unreachable"
    assert event.receipt.provider_code == "30003"
    assert not recipients.suppressed


async def test_an_opt_out_in_a_receipt_is_told_to_recipients(
    webhook: Webhook, recipients: Any
) -> None:
    await webhook.status("failed", "21610")
    assert recipients.suppressed == {("demo", ADA): "stop"}
    assert [event.reason for event in webhook.events] == ["opted_out"]


async def test_a_repeat_has_the_same_id_and_another_status_another(
    webhook: Webhook,
) -> None:
    for status in ("delivered", "delivered", "undelivered"):
        await webhook.status(status)
    first, again, other = (event.event_id for event in webhook.events)
    assert first == again != other


async def test_states_on_the_way_are_ignored_in_any_order(webhook: Webhook) -> None:
    for status in ("delivered", "sent", "queued", "sending", "teleported"):
        await webhook.status(status)
    assert len(webhook.events) == 1


async def test_a_receipt_that_is_not_stored_is_not_answered(webhook: Webhook) -> None:
    webhook.publisher.error = UnavailableError("NATS is away")
    with refused() as refusal:
        await webhook.status("delivered")
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    webhook.publisher.error = None
    await webhook.status("delivered")
    assert len(webhook.events) == 1


async def test_an_opt_out_that_is_not_stored_is_not_answered(
    webhook: Webhook, recipients: Any
) -> None:
    recipients.is_down = True
    with refused() as refusal:
        await webhook.text("STOP")
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    recipients.is_down = False
    await webhook.text("STOP")
    assert recipients.suppressed == {("demo", ADA): "stop"}


@pytest.mark.parametrize(
    "options",
    [
        {"x_twilio_signature": "guess"},
        {"x_twilio_signature": ""},
        {"x_envoy_original_path": ""},
        {"x_envoy_original_path": "/webhooks/sms/twilio?tenant=bank"},
        {"data": b"MessageSid=SM1&MessageStatus=undelivered"},
        {"data": b""},
        {"x_twilio_webhooks_signature_settings": "key=k,algorithm=HMAC_SHA256"},
        {"x_twilio_webhooks_signature_settings": "algorithm=NONE"},
    ],
    ids=str,
)
async def test_a_forged_receipt_is_refused(
    webhook: Webhook, options: dict[str, Any]
) -> None:
    with refused() as refusal:
        await webhook.status("delivered", **options)
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.reason == "INVALID_SIGNATURE"
    assert not webhook.events


async def test_a_signed_receipt_does_not_speak_for_another_delivery(
    webhook: Webhook,
) -> None:
    other = callback_url(webhook.public_url, make_job(tenant_id="bank"))
    path = other.removeprefix(webhook.public_url).removesuffix(CONNECTION_OVERRIDES)
    with refused() as refusal:
        await webhook.status("delivered", x_envoy_original_path=path)
    assert refusal.reason == "INVALID_SIGNATURE"


@pytest.mark.parametrize("data", [b"\xff", b"&".join(b"a=%d" % n for n in range(300))])
async def test_what_is_no_form_is_refused_by_name(
    webhook: Webhook, data: bytes
) -> None:
    with refused() as refusal:
        await webhook.status("delivered", data=data)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == ["data"]


async def test_a_form_without_a_message_is_refused_by_name(webhook: Webhook) -> None:
    with refused() as refusal:
        await webhook.post({"AccountSid": "AC1"})
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == ["data"]


async def test_a_receipt_of_a_message_that_is_not_ours_is_refused(
    webhook: Webhook,
) -> None:
    with refused() as refusal:
        await webhook.status("delivered", path=INBOUND)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == ["raw"]
    await webhook.status("sent", path=INBOUND)


@pytest.mark.parametrize(
    "options", [{"provider": "nexmo"}, {"channel": "email"}], ids=str
)
async def test_another_provider_is_not_known(
    webhook: Webhook, options: dict[str, str]
) -> None:
    with refused() as refusal:
        await webhook.status("delivered", **options)
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_stop_and_start_reach_the_tenant_of_the_number(
    webhook: Webhook, recipients: Any
) -> None:
    await webhook.text("Stop ")
    await webhook.text("STOP", THEIRS, account="AC2")
    await webhook.text("hello", THEIRS, account="AC3")
    assert recipients.suppressed == {("demo", ADA): "stop", ("bank", ADA): "stop"}
    await webhook.text("START")
    assert recipients.suppressed == {("bank", ADA): "stop"}
    assert not webhook.events


async def test_a_stop_to_a_number_of_nobody_is_refused(
    webhook: Webhook, recipients: Any
) -> None:
    with refused() as refusal:
        await webhook.text("STOP", THEIRS)
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert not recipients.suppressed
