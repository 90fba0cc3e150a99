"""Twilio's webhook signature: over the public URL and the form, two algorithms."""

from __future__ import annotations

import hmac
from base64 import b64encode
from typing import TYPE_CHECKING

from clarion.runtime.config import Secret
from clarion.sms.callback_url import CONNECTION_OVERRIDES

if TYPE_CHECKING:
    from multidict import MultiMapping
    from twilio.request_validator import RequestValidator

SIGNATURE_METADATA = "x-twilio-signature"
SETTINGS_METADATA = "x-twilio-webhooks-signature-settings"
"""With a shared key: ``key=<id>,algorithm=HMAC_SHA256``."""


class SignatureCheck:
    """Knows the secrets of one account."""

    def __init__(self, auth_token: Secret, shared_key: Secret | None) -> None:
        self._auth_token = auth_token
        self._shared_key = shared_key
        self._validators: dict[Secret, RequestValidator] = {}

    def is_valid(
        self, url: str, form: MultiMapping[str], signature: str, settings: str
    ) -> bool:
        """Whether the provider signed this form for this URL."""
        # Here and below: what twilio imports is needed by the first webhook, not
        # by the start.
        from twilio.request_validator import HMAC_SHA1, get_signature_algorithm

        if not signature:
            return False
        if not settings and self._is_usual(url, form, signature):
            return True
        algorithm = get_signature_algorithm(settings)
        # Who asks names the algorithm, but each one has its own secret.
        secret = self._auth_token if algorithm == HMAC_SHA1 else self._shared_key
        if secret is None:
            return False
        validator = self._validator(secret)
        # The fragment never travels; whether it was signed, Twilio does not say.
        urls = (url, url + CONNECTION_OVERRIDES)
        given = signature.encode()
        try:
            for signed in urls:
                own = validator.compute_signature(signed, form, algorithm)
                if hmac.compare_digest(own.encode(), given):
                    return True
        except ValueError:  # not an algorithm of theirs
            return False
        # Nor whether the port was: this tries both, at many times the cost.
        return any(
            validator.validate(signed, form, signature, algorithm) for signed in urls
        )

    def _is_usual(self, url: str, form: MultiMapping[str], signature: str) -> bool:
        """Whether it is Twilio's plain signature: HMAC-SHA1 with the auth token over
        the URL and the fields by their names. Nearly all are; the library is asked
        about the rest, of which it knows more."""
        fields = dict(form)
        if len(fields) < len(form):
            return False  # a name that comes twice
        text = url + "".join([f"{name}{fields[name]}" for name in sorted(fields)])
        own = hmac.digest(self._auth_token.reveal().encode(), text.encode(), "sha1")
        return hmac.compare_digest(b64encode(own), signature.encode())

    def _validator(self, secret: Secret) -> RequestValidator:
        from twilio.request_validator import RequestValidator

        found = self._validators.get(secret)
        if found is None:
            found = self._validators[secret] = RequestValidator(secret.reveal())
        return found
