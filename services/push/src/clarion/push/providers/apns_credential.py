"""The provider token of APNs: a JWT of our own, signed with the team's .p8 key."""

from __future__ import annotations

from datetime import timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clarion.runtime.clock import Clock
from clarion.runtime.config import Secret
from clarion.runtime.errors import ConfigError

LIFE = timedelta(minutes=50)
"""Apple refuses tokens of more than an hour."""
_RENEW_EVERY_SECONDS = 20 * 60.0
"""Apple refuses more than one new token in 20 minutes (TooManyProviderTokenUpdates)."""


class ProviderTokens:
    """Signs a token, keeps it for LIFE; signs another when Apple calls it expired."""

    problem = ""

    def __init__(self, key: Secret, key_id: str, team_id: str, clock: Clock) -> None:
        """Raises ConfigError for a file that holds no EC private key."""
        try:
            loaded = load_pem_private_key(key.reveal().encode(), None)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                "CLARION_APNS_KEY_FILE holds no private key: give Apple's .p8 file"
            ) from error
        if not isinstance(loaded, EllipticCurvePrivateKey):
            raise ConfigError(
                "CLARION_APNS_KEY_FILE holds another kind of key: give Apple's .p8 file"
            )
        self._key = loaded
        self._key_id = key_id
        self._team_id = team_id
        self._clock = clock
        self._header = ""
        self._until = 0.0
        self._may_renew = 0.0

    async def authorization(self, refused: str = "") -> str:
        """The header; a refused one is replaced at most every 20 minutes."""
        now = self._clock.monotonic()
        if not self._header or now >= self._until:
            self._sign(now)
        elif refused == self._header and now >= self._may_renew:
            # Only after a jump of the clock: the token was younger than LIFE.
            self._may_renew = now + _RENEW_EVERY_SECONDS
            self._sign(now)
        return self._header

    def prepare(self) -> None:
        """Signing needs nobody else."""

    async def close(self) -> None:
        """Has nothing open."""

    def _sign(self, now: float) -> None:
        token = jwt.encode(
            {"iss": self._team_id, "iat": int(self._clock.now().timestamp())},
            self._key,
            algorithm="ES256",
            headers={"kid": self._key_id},
        )
        self._header = f"authorization: bearer {token}"
        self._until = now + LIFE.total_seconds()
