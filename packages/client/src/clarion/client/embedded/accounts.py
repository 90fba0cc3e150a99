"""The account PostgreSQL runs under: it refuses to run as root.

As root it runs as ``nobody``. Folders on the way to its programs and data may be closed
to that account (a checkout below /root is), so there the process keeps one capability,
the right to pass them. Nothing outside the data folder is changed: no account is made
and no permission is widened.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clarion.client.embedded.errors import EmbeddedError

# The narrower right first; containers often leave only the second.
_PASSING_CAPABILITIES = (2, 1)  # CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE


@dataclass(frozen=True, slots=True)
class Account:
    """Another account to run a process under."""

    uid: int
    gid: int
    capability: int | None = None
    """The Linux capability that the process keeps."""


def unprivileged_account(reaches: Iterable[Path]) -> Account | None:
    """The account to use in place of root; None when not running as root.

    ``reaches`` are paths that the account must be able to get at; EmbeddedError when
    it cannot.
    """
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    closed = [path for path in reaches if not _is_open_to_all(path)]
    if not closed:
        return Account(nobody.pw_uid, nobody.pw_gid)
    held = _held_capabilities() if sys.platform == "linux" else 0
    for capability in _PASSING_CAPABILITIES:
        if held >> capability & 1:
            return Account(nobody.pw_uid, nobody.pw_gid, capability)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and the account {nobody.pw_name} cannot "
        f"reach {closed[0]}. Run this as another user, or in a folder open to all."
    )


def give(folder: Path, account: Account) -> None:
    """Makes the account the owner of the folder and all that is in it."""
    if folder.stat().st_uid == account.uid:
        return
    for inside, _, files in os.walk(folder):
        for path in (inside, *(os.path.join(inside, name) for name in files)):
            os.lchown(path, account.uid, account.gid)


def _is_open_to_all(path: Path) -> bool:
    parents = path.resolve().parents
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in parents)


def _held_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0
