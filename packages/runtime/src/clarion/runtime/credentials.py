"""The API keys that callers may present: a JSON file that is re-read when it changes.

``{"keys": [{"id": "demo", "sha256": "<hex>", "tenant": "demo", "scopes": ["*"]}]}``

Only hashes are kept. Keys are long random texts, so a plain SHA-256 is enough; a
password would need a slow one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from time import monotonic
from typing import Any

from clarion.runtime.caller import is_tenant
from clarion.runtime.errors import ConfigError, InvalidCredentialError

logger = logging.getLogger(__name__)

ANY_TENANT = "*"
_SHA256 = re.compile(r"[0-9a-f]{64}")
# How often the file is looked at; a withdrawn key works this long at most.
_LOOK_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Credential:
    """One key: who presents it and what it is good for."""

    id: str
    sha256: str
    tenant: str
    """The tenant, or ``*`` for a service, which names the tenant in each call."""
    scopes: frozenset[str]

    @property
    def is_service(self) -> bool:
        """Whether it belongs to a service of the mesh."""
        return self.tenant == ANY_TENANT


class ApiKeys:
    """The keys of a file. A file that breaks later leaves the last good keys valid."""

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        """Reads the file; raises ConfigError when it cannot be used."""
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamp = _stamp(path)
        self._by_hash = read_keys(path)

    def find(self, key: str) -> Credential:
        """The credential of a presented key; InvalidCredentialError if unknown."""
        self._look_again()
        presented = sha256(key.encode()).hexdigest()
        found = self._by_hash.get(presented)
        # The dict finds by hash and the comparison is in constant time: what a caller
        # could learn from timing is about a digest that it cannot steer.
        if found is None or not compare_digest(found.sha256, presented):
            raise InvalidCredentialError("the API key is not known: check the key")
        return found

    def _look_again(self) -> None:
        now = self._clock()
        if now - self._looked < _LOOK_EVERY_SECONDS:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._by_hash = read_keys(self._path)
        except ConfigError as wrong:
            logger.error("API keys not reloaded", extra={"problem": wrong.message})
        else:
            logger.info("API keys reloaded", extra={"keys": len(self._by_hash)})


def read_keys(path: Path) -> Mapping[str, Credential]:
    """Hash -> credential. ConfigError lists everything wrong with the file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise ConfigError(
            f"CLARION_API_KEYS_FILE {path} cannot be read as JSON: {wrong}"
        ) from wrong
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f'CLARION_API_KEYS_FILE {path} has no list "keys"')
    found: dict[str, Credential] = {}
    problems: list[str] = []
    for number, entry in enumerate(entries):
        problem = _problem(entry)
        if problem:
            problems.append(f"CLARION_API_KEYS_FILE {path} keys[{number}]: {problem}")
            continue
        digest = entry["sha256"].lower()
        scopes = frozenset(entry["scopes"])
        found[digest] = Credential(entry["id"], digest, entry["tenant"], scopes)
    if problems:
        raise ConfigError(problems)
    return found


def _problem(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return "is not an object"
    for name in ("id", "sha256", "tenant"):
        if not isinstance(entry.get(name), str) or not entry[name]:
            return f'"{name}" is missing: give a text'
    if not _SHA256.fullmatch(entry["sha256"].lower()):
        return '"sha256" is not 64 hex digits'
    if entry["tenant"] != ANY_TENANT and not is_tenant(entry["tenant"]):
        return '"tenant" is not * or ^[a-z0-9][a-z0-9_-]{0,62}$'
    scopes = entry.get("scopes")
    if not isinstance(scopes, list) or not all(isinstance(s, str) for s in scopes):
        return '"scopes" is missing: give a list of texts'
    return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
