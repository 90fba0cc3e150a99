"""The account PostgreSQL runs under: it refuses to run as root.

As root it runs as ``nobody``. Folders on the way to its programs and data may be closed
to that account (a checkout below /root is), so there the process keeps one capability,
the right to pass them. Nothing outside the data folder is changed: no account is made
and no permission is widened.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
# The narrower right first; containers often leave only the second.
_PASSING_CAPABILITIES = (2, 1)  # CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE


@dataclass(frozen=True, slots=True)
class Account:
    """Another account to run a process under."""

    uid: int
    gid: int
    capability: int | None = None
    """The Linux capability that the process keeps."""

    def become(self) -> None:
        """Turns the calling process, just forked by root, into this account."""
        os.setgroups([])
        os.setgid(self.gid)
        if self.capability is None:
            os.setuid(self.uid)
            return
        _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setuid(self.uid)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        one = 1 << self.capability
        # effective, permitted, inheritable; then the same for capabilities over 31.
        sets = (ctypes.c_uint32 * 6)(one, one, one, 0, 0, 0)
        _call("capset", header, sets)
        _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, self.capability, 0, 0)


def unprivileged_account(reaches: Iterable[Path]) -> Account | None:
    """The account to use in place of root; None when not running as root.

    ``reaches`` are paths that the account must be able to get at.
    """
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    if sys.platform != "linux" or all(map(_is_open_to_all, reaches)):
        return Account(nobody.pw_uid, nobody.pw_gid)
    held = _held_capabilities()
    capability = next((c for c in _PASSING_CAPABILITIES if held >> c & 1), None)
    return Account(nobody.pw_uid, nobody.pw_gid, capability)


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


# Loaded before any fork: loading a library in a forked child may deadlock.
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: object) -> None:
    if getattr(_LIBC, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
