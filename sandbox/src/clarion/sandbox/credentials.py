"""Keys and certificates: made on first start, kept in the data folder, never committed.

They are kept so that a sandbox that comes back is trusted by adapters already running.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PROJECT = "clarion-sandbox"
CLIENT_EMAIL = f"push@{PROJECT}.iam.gserviceaccount.com"
APNS_KEY_ID = "SANDBOXKEY"
APNS_TEAM_ID = "SANDBOXTM1"
Key = TypeVar("Key", rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)
_VALIDITY = datetime.timedelta(days=825)


class BadTokenError(ValueError):
    """A JWT is malformed, signed by another key or names another one."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the sandbox proves itself with, and what it checks its callers against."""

    ca_file: Path
    server_file: Path
    """Certificate chain and key of the TLS listener in one PEM."""
    fcm_credentials_file: Path
    apns_key_file: Path
    sendgrid_public_key_file: Path
    service_account_key: rsa.RSAPrivateKey
    apns_key: ec.EllipticCurvePrivateKey
    sendgrid_key: ec.EllipticCurvePrivateKey

    def write_service_account(self, token_uri: str) -> None:
        """Write the service-account JSON that points at `token_uri`."""
        account = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "sandbox",
            "private_key": _pem(self.service_account_key).decode(),
            "client_email": CLIENT_EMAIL,
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }
        write_private(self.fcm_credentials_file, json.dumps(account, indent=2).encode())


def load_or_make(data: Path) -> Credentials:
    """Credentials of the data folder, made where they are missing or unreadable."""
    data.mkdir(parents=True, exist_ok=True)
    ca_file, server_file = data / "ca.pem", data / "server.pem"
    if not _still_valid(ca_file) or not _still_valid(server_file):
        _make_certificates(ca_file, server_file)
    account_key = _private_key(
        data / "fcm-key.pem",
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )
    apns_file = data / f"AuthKey_{APNS_KEY_ID}.p8"
    apns_key = _private_key(apns_file, lambda: ec.generate_private_key(ec.SECP256R1()))
    sendgrid_key = _private_key(
        data / "sendgrid-key.pem", lambda: ec.generate_private_key(ec.SECP256R1())
    )
    public_file = data / "sendgrid-public-key.txt"
    # SendGrid hands its key out as base64 of the DER, without PEM lines.
    der = sendgrid_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_private(public_file, base64.b64encode(der))
    return Credentials(
        ca_file=ca_file,
        server_file=server_file,
        fcm_credentials_file=data / "service-account.json",
        apns_key_file=apns_file,
        sendgrid_public_key_file=public_file,
        service_account_key=account_key,
        apns_key=apns_key,
        sendgrid_key=sendgrid_key,
    )


def verified_claims(
    token: str, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims of a JWT signed by `key` (RS256 or ES256).

    Raises BadTokenError; times and audience are the caller's business.
    """
    try:
        signed, _, signature_text = token.rpartition(".")
        header, claims = (json.loads(_decode(part)) for part in signed.split("."))
        signature = _decode(signature_text)
        if isinstance(key, rsa.RSAPublicKey):
            expected = "RS256"
            key.verify(signature, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            expected = "ES256"
            if len(signature) != 64:
                raise BadTokenError("an ES256 signature has 64 bytes")
            r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
            key.verify(
                encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256())
            )
    except (ValueError, InvalidSignature) as exc:
        raise BadTokenError("malformed or signed by another key") from exc
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise BadTokenError("header and claims must be objects")
    if header.get("alg") != expected:
        raise BadTokenError(f"alg must be {expected}")
    return header, claims


def secret_text(path: Path, given: str) -> str:
    """The secret that is given, else the one kept at `path`, else a new one; kept."""
    try:
        secret = given or path.read_text()
    except OSError:
        secret = secrets.token_hex(16)
    write_private(path, secret.encode())
    return secret


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _private_key(path: Path, make: Callable[[], Key]) -> Key:
    made = make()
    try:
        kept = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(kept, type(made)):
            return kept
    except (OSError, ValueError):
        pass  # absent or damaged: the fresh key takes its place
    write_private(path, _pem(made))
    return made


def _still_valid(path: Path) -> bool:
    """Whether a certificate file can be used for another day."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return certificate.not_valid_after_utc.timestamp() > time.time() + 86_400


def _make_certificates(ca_file: Path, server_file: Path) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clarion sandbox CA")])
    ca = (
        _certificate(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            _key_usage(key_cert_sign=True, crl_sign=True, digital_signature=True),
            critical=True,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    server = (
        _certificate(name, ca_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                    x509.IPAddress(ipaddress.ip_address("::1")),
                ]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    write_private(server_file, server.public_bytes(encoding) + _pem(key))
    write_private(ca_file, ca.public_bytes(encoding))


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _VALIDITY)
    )


def _key_usage(**used: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment"),
        *("data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
        *("encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: used.get(name, False) for name in names})
