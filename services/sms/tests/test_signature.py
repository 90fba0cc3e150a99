from __future__ import annotations

import pytest
from multidict import MultiDict
from twilio.request_validator import HMAC_SHA256, RequestValidator

from clarion.runtime.config import Secret
from clarion.sms.callback_url import CONNECTION_OVERRIDES
from clarion.sms.signature import SignatureCheck

URL = "https://mesh.example.com/webhooks/sms/twilio?tenant=demo&delivery_id=d"
FORM = MultiDict({"MessageSid": "SM1", "MessageStatus": "sent", "To": "+15550100001"})
CHECK = SignatureCheck(Secret("token"), Secret("shared"))
SHARED = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"


def sign(url: str = URL, token: str = "token", algorithm: str | None = None) -> str:
    return str(RequestValidator(token).compute_signature(url, FORM, algorithm))


def test_a_right_signature_is_taken() -> None:
    assert CHECK.is_valid(URL, FORM, sign(), "")


def test_the_signature_may_cover_the_fragment() -> None:
    assert CHECK.is_valid(URL, FORM, sign(URL + CONNECTION_OVERRIDES), "")


@pytest.mark.parametrize("fragment", ["", CONNECTION_OVERRIDES])
@pytest.mark.parametrize("port", ["", ":443"])
def test_the_signature_may_cover_the_port(port: str, fragment: str) -> None:
    signed, other = (
        URL.replace(".com", f".com{one}") for one in (port, ":443"[len(port) :])
    )
    assert CHECK.is_valid(signed, FORM, sign(other + fragment), "")
    assert CHECK.is_valid(signed, FORM, sign(signed + fragment), "")


def test_a_shared_key_signs_with_sha256() -> None:
    assert CHECK.is_valid(
        URL, FORM, sign(token="shared", algorithm=HMAC_SHA256), SHARED
    )


def test_the_documented_example_of_twilio_is_taken() -> None:
    form = MultiDict(
        {
            "CallSid": "CA1234567890ABCDE",
            "Caller": "+14158675309",
            "Digits": "1234",
            "From": "+14158675309",
            "To": "+18005551212",
        }
    )
    check = SignatureCheck(Secret("12345"), None)
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert check.is_valid(url, form, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "")


@pytest.mark.parametrize(
    ("url", "signature", "settings"),
    [
        (URL, "", ""),
        (URL, "guess", ""),
        (URL + "x", sign(), ""),
        (URL, sign(token="other"), ""),
        # Naming the other algorithm does not make one secret stand for the other.
        (URL, sign(token="token", algorithm=HMAC_SHA256), SHARED),
        (URL, sign(token="shared"), ""),
        (URL, sign(), "algorithm=NONE"),
        (URL, "ünïcode", ""),
    ],
)
def test_a_wrong_signature_is_not(url: str, signature: str, settings: str) -> None:
    assert not CHECK.is_valid(url, FORM, signature, settings)


def test_a_changed_form_is_not_signed() -> None:
    changed = MultiDict(FORM)
    changed["MessageStatus"] = "delivered"
    assert not CHECK.is_valid(URL, changed, sign(), "")


def test_a_doubled_parameter_is_not_signed() -> None:
    doubled = MultiDict(FORM)
    doubled.add("MessageStatus", "delivered")
    assert not CHECK.is_valid(URL, doubled, sign(), "")


def test_without_a_shared_key_sha256_is_not_taken() -> None:
    check = SignatureCheck(Secret("token"), None)
    signature = sign(algorithm=HMAC_SHA256)
    assert not check.is_valid(URL, FORM, signature, SHARED)
