"""The providers that the settings have accounts for."""

from __future__ import annotations

from clarion.api.event.v1.work_pb2 import DeliveryJob
from clarion.push.providers.apns import ApnsDialect
from clarion.push.providers.fcm import FcmDialect
from clarion.push.providers.fcm_credential import AccessTokens, google_fetch
from clarion.push.providers.posting import PostingProvider
from clarion.push.providers.unconfigured import Unconfigured
from clarion.push.settings import Settings
from clarion.runtime.clock import Clock
from clarion.runtime.delivery import Provider
from clarion.runtime.http.transport import Limits, Transport
from clarion.runtime.http.trust import Trust

NOTHING_CONFIGURED = (
    "neither FCM nor APNs is configured: set CLARION_FCM_CREDENTIALS_FILE "
    "or CLARION_APNS_KEY_FILE"
)


class Accounts:
    """FCM, or what stands in for it, and APNs where it is configured."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Needs a running loop. ConfigError for a key that cannot be used."""
        self._trust = Trust(settings.push_ca_file)
        self._limits = Limits(
            in_flight=settings.push_in_flight,
            connect_timeout=settings.push_connect_timeout,
            timeout=settings.push_timeout,
        )
        self.apns = self._open_apns(settings, clock)
        self.fcm = self._open_fcm(settings, clock)

    @property
    def providers(self) -> list[Provider]:
        """The one for all platforms first."""
        return [self.fcm] if self.apns is None else [self.fcm, self.apns]

    def choose(self, job: DeliveryJob) -> Provider:
        """APNs for iOS where there is an account; FCM reaches all platforms."""
        if self.apns is not None and job.target.platform == "ios":
            return self.apns
        return self.fcm

    async def close(self) -> None:
        """Closes them; repeating it is harmless."""
        for provider in self.providers:
            await provider.close()
        self._trust.close()

    def _open_apns(self, settings: Settings, clock: Clock) -> Provider | None:
        if settings.apns_key is None:
            return None
        # Signing needs libraries that take long to import.
        from clarion.push.providers.apns_credential import ProviderTokens

        return PostingProvider(
            "apns",
            Transport(settings.apns_url, self._trust.path, self._limits),
            ProviderTokens(
                settings.apns_key, settings.apns_key_id, settings.apns_team_id, clock
            ),
            ApnsDialect(settings.apns_topic),
            clock,
        )

    def _open_fcm(self, settings: Settings, clock: Clock) -> Provider:
        if settings.fcm_credentials is None:
            return Unconfigured("fcm", NOTHING_CONFIGURED if self.apns is None else "")
        return PostingProvider(
            "fcm",
            Transport(settings.fcm_url, self._trust.path, self._limits),
            AccessTokens(google_fetch(settings.fcm_account(), self._trust.path), clock),
            FcmDialect(settings.project()),
            clock,
        )
