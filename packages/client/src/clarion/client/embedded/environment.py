"""The environment of the services and the sandbox of a local stack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from clarion.client.embedded.credentials import Credentials
from clarion.client.embedded.ports import HOST

SERVICES = (
    "router",
    "templating",
    "ratelimit",
    "push",
    "email",
    "sms",
    "inapp",
    "recipients",
    "tracking",
)
WEBHOOK_LISTENERS = ("sms.webhooks",)
"""Services that take webhooks by HTTP/1.1, as names of ports."""
SANDBOX_LISTENERS = ("fcm", "push_tls", "twilio", "sendgrid", "smtp", "control")

_PUSH = MappingProxyType(
    {
        "CLARION_FCM_URL": "push_tls_url",
        "CLARION_FCM_PROJECT": "fcm_project",
        "CLARION_FCM_CREDENTIALS_FILE": "fcm_credentials_file",
        "CLARION_APNS_URL": "push_tls_url",
        "CLARION_APNS_KEY_FILE": "apns_key_file",
        "CLARION_APNS_KEY_ID": "apns_key_id",
        "CLARION_APNS_TEAM_ID": "apns_team_id",
        "CLARION_PUSH_CA_FILE": "ca_file",
    }
)
_EMAIL = MappingProxyType(
    {
        "CLARION_SMTP_URL": "smtp_url",
        "CLARION_SENDGRID_URL": "sendgrid_url",
        "CLARION_SENDGRID_PUBLIC_KEY_FILE": "sendgrid_public_key_file",
    }
)
_SMS = MappingProxyType(
    {
        "CLARION_TWILIO_URL": "twilio_url",
        "CLARION_TWILIO_ACCOUNT_SID": "twilio_account_sid",
        "CLARION_TWILIO_AUTH_TOKEN_FILE": "twilio_auth_token_file",
    }
)
# Variable -> entry of sandbox.json, by service.
_PROVIDERS: Mapping[str, Mapping[str, str]] = {
    "push": _PUSH,
    "email": _EMAIL,
    "sms": _SMS,
}
_OWN: Mapping[str, Mapping[str, str]] = {
    "push": {"CLARION_APNS_TOPIC": "com.example.clarion"},
    "email": {"CLARION_EMAIL_FROM": "Clarion <notifications@clarion.example>"},
    # A number that Twilio reserves for tests.
    "sms": {"CLARION_TWILIO_FROM": "+15005550006"},
}


def of_service(
    name: str,
    *,
    ports: Mapping[str, int],
    servers: Mapping[str, str],
    credentials: Credentials,
    public_url: str,
    sandbox: Mapping[str, str],
) -> dict[str, str]:
    """The CLARION_* variables of a service.

    ``servers`` are the variables of the servers' URLs; ``sandbox`` is the content of
    sandbox.json, empty where there is none.
    """
    variables = {
        "CLARION_LISTEN": f"{HOST}:{ports[name]}",
        "CLARION_API_KEYS_FILE": str(credentials.api_keys_file),
        "CLARION_SERVICE_KEY_FILE": str(credentials.service_key_file),
        "CLARION_PUBLIC_URL": public_url,
    }
    variables |= servers
    for service in SERVICES:
        variables[f"CLARION_{service.upper()}_TARGET"] = f"{HOST}:{ports[service]}"
    variables |= _OWN.get(name, {})
    if (listener := f"{name}.webhooks") in WEBHOOK_LISTENERS:
        variables["CLARION_WEBHOOK_LISTEN"] = f"{HOST}:{ports[listener]}"
    for variable, entry in _PROVIDERS.get(name, {}).items():
        if entry in sandbox:
            variables[variable] = sandbox[entry]
    return variables


def of_sandbox(
    folder: Path, ports: Mapping[str, int], public_url: str
) -> dict[str, str]:
    """The CLARION_SANDBOX_* variables."""
    listeners = {name: ports[f"sandbox.{name}"] for name in SANDBOX_LISTENERS}
    return {
        "CLARION_SANDBOX_DATA": str(folder),
        "CLARION_SANDBOX_PORTS": ",".join(f"{k}={v}" for k, v in listeners.items()),
        "CLARION_SANDBOX_TWILIO_INBOUND_URL": f"{public_url}/webhooks/sms/twilio",
        "CLARION_SANDBOX_SENDGRID_EVENTS_URL": f"{public_url}/webhooks/email/sendgrid",
    }


def read_sandbox(folder: Path) -> dict[str, str]:
    """The content of sandbox.json; raises FileNotFoundError until it is there."""
    content: dict[str, str] = json.loads((folder / "sandbox.json").read_text())
    return content
