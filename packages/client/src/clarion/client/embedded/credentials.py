"""The keys of a local stack: made at the first start, kept afterwards."""

from __future__ import annotations

import json
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any

DEMO_TENANT = "demo"
OTHER_TENANT = "other"
_ENTRIES: dict[str, dict[str, Any]] = {
    "demo": {"tenant": DEMO_TENANT, "scopes": ["*"]},
    # A second tenant, so that one can be looked at beside another.
    "other": {"tenant": OTHER_TENANT, "scopes": ["*"]},
    # A service of the mesh: each of its calls names the tenant it acts for.
    "mesh": {"tenant": "*", "scopes": ["internal", "*"]},
}


class Credentials:
    """The key files below a data folder."""

    def __init__(self, data: Path) -> None:
        self.demo_key_file = data / "demo.key"
        self.other_key_file = data / "other.key"
        self.service_key_file = data / "service.key"
        self.api_keys_file = data / "api-keys.json"

    @property
    def demo_key(self) -> str:
        """The key of the tenant ``demo``, good for every public call."""
        return self.demo_key_file.read_text().strip()

    @property
    def other_key(self) -> str:
        """The key of the tenant ``other``, good for every public call."""
        return self.other_key_file.read_text().strip()

    def make(self) -> None:
        """Makes what is missing; keys that were added to the JSON file stay."""
        keys = _read_keys(self.api_keys_file)
        for identifier, file in (
            ("demo", self.demo_key_file),
            ("other", self.other_key_file),
            ("mesh", self.service_key_file),
        ):
            digest = sha256(_load_or_make(file).encode()).hexdigest()
            keys[identifier] = {"id": identifier, "sha256": digest} | _ENTRIES[
                identifier
            ]
        text = json.dumps({"keys": list(keys.values())}, indent=2) + "\n"
        write_private(self.api_keys_file, text)


def write_private(path: Path, text: str) -> None:
    """Replaces a file at once; only its owner may read it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _load_or_make(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    return path.read_text().strip()


def _read_keys(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    return {key["id"]: key for key in json.loads(path.read_text())["keys"]}
