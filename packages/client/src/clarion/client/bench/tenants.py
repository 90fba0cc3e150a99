"""Many tenants: an API key for each in the stack's file of keys."""

from __future__ import annotations

import json
import secrets
from hashlib import sha256
from pathlib import Path

from clarion.client.embedded.credentials import Credentials, write_private

PEOPLE_OF_A_TENANT = 20


def make_tenants(folder: Path, count: int) -> dict[str, str]:
    """Keys by tenant, written where the stack adds its own at its start."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {f"tenant-{number}": secrets.token_urlsafe(32) for number in range(count)}
    entries = [
        {
            "id": tenant,
            "sha256": sha256(key.encode()).hexdigest(),
            "tenant": tenant,
            "scopes": ["*"],
        }
        for tenant, key in keys.items()
    ]
    write_private(Credentials(folder).api_keys_file, json.dumps({"keys": entries}))
    return keys
