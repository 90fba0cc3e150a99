"""Becomes another program, which ends when the process that started it does.

Run as a file, by a Python without site-packages: it imports nothing of Clarion. What it
does could be done between fork and exec (``preexec_fn``), but then the supervisor would
have to be forked, and gRPC, which may be at work in it, does not stand that. So the
supervisor only starts this with vfork, at a cost of 10 ms.

``launcher.py PARENT DEATH_SIGNAL UID GID CAPABILITY PROGRAM [ARGUMENT ...]``
where a dash stands for: leave as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    """Changes the account, asks for the parent's death signal, executes."""
    parent, death_signal, uid, gid, capability, *argv = sys.argv[1:]
    if uid != "-":
        become(int(uid), int(gid), None if capability == "-" else int(capability))
    if sys.platform == "linux":
        # After the change of account, which clears it.
        _call("prctl", _PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):  # it died before it was asked for
        sys.exit(1)
    os.execv(argv[0], argv)


def become(uid: int, gid: int, capability: int | None) -> None:
    """Turns this process of root's into another account's, with one capability."""
    os.setgroups([])
    os.setgid(gid)
    if capability is None:
        os.setuid(uid)
        return
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setuid(uid)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    one = 1 << capability
    # effective, permitted, inheritable; then the same for capabilities over 31.
    sets = (ctypes.c_uint32 * 6)(one, one, one, 0, 0, 0)
    _call("capset", header, sets)
    _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
