"""The settings of push, besides those every service shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from clarion.runtime.config import Secret


@dataclass(frozen=True, slots=True)
class Settings:
    """The accounts at FCM and APNs; either may be missing."""

    fcm_url: str = "https://fcm.googleapis.com"
    fcm_credentials: Secret | None = None
    """The service account's JSON file; FCM is in use when it is given."""
    fcm_project: str = ""
    """The Firebase project; by default the one that the service account is of."""
    apns_url: str = "https://api.push.apple.com"
    apns_key: Secret | None = None
    """The team's .p8 file; APNs is in use when it is given."""
    apns_key_id: str = ""
    apns_team_id: str = ""
    apns_topic: str = ""
    """The app's bundle id."""
    push_ca_file: Path | None = None
    """PEM file of authorities to trust besides the usual ones."""
    push_in_flight: int = 1000
    """Requests under way at once, for each of the two."""
    push_timeout: timedelta = timedelta(seconds=15)
    """For one request; after it the outcome is unknown."""
    push_connect_timeout: timedelta = timedelta(seconds=5)

    def __post_init__(self) -> None:
        problems = []
        if self.fcm_credentials is not None:
            account = self.fcm_account()
            if not {"client_email", "private_key", "token_uri"} <= account.keys():
                problems.append(
                    "CLARION_FCM_CREDENTIALS_FILE is no service account key: "
                    "give the JSON file from the Firebase console"
                )
            elif not self.project():
                problems.append("CLARION_FCM_PROJECT is not set: give the project's id")
        if self.apns_key is not None:
            problems += [
                f"CLARION_{name.upper()} is not set: APNs needs it beside its key"
                for name in ("apns_key_id", "apns_team_id", "apns_topic")
                if not getattr(self, name)
            ]
        if self.push_ca_file is not None and not self.push_ca_file.is_file():
            problems.append("CLARION_PUSH_CA_FILE names no readable file: give one")
        if self.push_in_flight < 1:
            problems.append("CLARION_PUSH_IN_FLIGHT is too small: give 1 or more")
        for name in ("fcm_url", "apns_url"):
            if not getattr(self, name).startswith(("http://", "https://")):
                problems.append(f"CLARION_{name.upper()} is no URL: give https://host")
        if problems:
            raise ValueError("; ".join(problems))

    def fcm_account(self) -> Mapping[str, Any]:
        """The service account's key; empty when there is none or it is no JSON."""
        try:
            account = json.loads(
                self.fcm_credentials.reveal() if self.fcm_credentials else ""
            )
        except ValueError:
            return {}
        return account if isinstance(account, dict) else {}

    def project(self) -> str:
        """The Firebase project."""
        return self.fcm_project or str(self.fcm_account().get("project_id", ""))
