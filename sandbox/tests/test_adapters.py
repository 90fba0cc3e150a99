"""The providers' own client libraries, unmodified, against the sandbox."""

from __future__ import annotations

import asyncio
from typing import Any

import firebase_admin
import pytest
from firebase_admin import credentials, messaging
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from clarion.sandbox.testing import RunningSandbox

FCM_PATH = "/v1/projects/{0}/messages:send"


@pytest.mark.filterwarnings("ignore:Message.token:DeprecationWarning")
async def test_firebase_admin_sends_and_understands_the_errors(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    service: Any = messaging._MessagingService
    monkeypatch.setattr(service, "FCM_URL", sandbox.push_tls_url + FCM_PATH)
    monkeypatch.setenv("SSL_CERT_FILE", sandbox.ca_file)
    await sandbox.script(
        [
            {
                "match": {"provider": "fcm", "recipient": "t1"},
                "action": {"code": "SENDER_ID_MISMATCH"},
            },
            {"match": {"recipient": "t2"}, "action": {"unregistered": True}},
        ]
    )

    # In a thread of its own: the library fetches its token with blocking calls.
    def send() -> Any:
        account = credentials.Certificate(sandbox.fcm_credentials_file)
        app = firebase_admin.initialize_app(account, name=sandbox.fcm_url)
        messages = [messaging.Message(token=f"t{n}") for n in range(5)]
        return asyncio.run(messaging.send_each_async(messages, app=app))

    batch = await asyncio.to_thread(send)
    errors = [type(r.exception).__name__ for r in batch.responses if not r.success]
    assert batch.success_count == 3
    assert errors == ["SenderIdMismatchError", "UnregisteredError"]


async def test_the_twilio_library_sends_reads_and_understands_the_errors(
    sandbox: RunningSandbox,
) -> None:
    def send() -> tuple[Any, Any]:
        client = Client(sandbox.twilio_account_sid, sandbox.twilio_auth_token)
        client.api.base_url = sandbox.twilio_url
        made = client.messages.create(
            to="+15550100001", from_="+15550100002", body="Hello"
        )
        with pytest.raises(TwilioRestException) as caught:
            client.messages.create(to="1", from_="+15550100002", body="Hello")
        assert caught.value.code == 21211
        return made, client.messages(made.sid).fetch()

    made, read = await asyncio.to_thread(send)
    assert made.status == "queued"
    assert made.date_created is not None
    assert read.sid == made.sid
