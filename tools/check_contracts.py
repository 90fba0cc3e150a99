"""Lints the contracts, refuses breaking changes, and that generated code is stale.

The base of the breaking check is the commit in CLARION_BREAKING_BASE, else origin/main
where that is another commit, else the newest commit that is more than four hours old:
what somebody may have built on. Without contracts there, nothing can break.
"""

from __future__ import annotations

import filecmp
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from generate_contracts import OUTPUT, ROOT, generate, write_descriptor_set

BUF = str(Path(sys.executable).parent / "buf")


def run(*command: str) -> bool:
    """Runs a command in the repository's root; true when it succeeded."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def git(*arguments: str) -> str:
    """Returns what git says in the repository; empty when it fails."""
    said = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() if said.returncode == 0 else ""


def base_commit() -> str:
    """Returns the commit that the contracts must stay compatible with, or nothing."""
    given = os.environ.get("CLARION_BREAKING_BASE", "")
    if given:
        return git("rev-parse", "--verify", f"{given}^{{commit}}")
    landed = git("rev-parse", "--verify", "--quiet", "origin/main^{commit}")
    if landed and landed != git("rev-parse", "HEAD"):
        return landed
    return git("rev-list", "-1", "--before=4 hours ago", "HEAD")


def contracts_at(commit: str, folder: Path) -> Path | None:
    """Unpacks proto/ as it was at a commit; none where it had no contracts."""
    archive = subprocess.run(
        ["git", "archive", commit, "proto"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "proto"


def is_compatible(folder: Path, current: Path) -> bool:
    """Whether the contracts only grew since the base commit."""
    commit = base_commit()
    before = contracts_at(commit, folder) if commit else None
    if before is None:
        return True
    write_descriptor_set(folder / "before.binpb", before)
    against = str(folder / "before.binpb")
    return run(BUF, "breaking", str(current), "--against", against)


def differences(left: Path, right: Path) -> list[str]:
    """Returns the files that are not the same below two folders."""

    def files(root: Path) -> set[str]:
        return {
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    _, differing, missing = filecmp.cmpfiles(
        left, right, sorted(files(left) | files(right)), shallow=False
    )
    return differing + missing


def is_fresh(folder: Path) -> bool:
    """Whether packages/contracts is what proto/ generates."""
    generate(folder / "generated")
    stale = differences(folder / "generated", OUTPUT)
    for name in stale:
        sys.stderr.write(f"stale, run `make proto`: {name}\n")
    return not stale


def main() -> int:
    """Returns the exit status: 0 when everything holds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        current = folder / "current.binpb"
        write_descriptor_set(current)
        checks = [
            run(BUF, "format", "proto", "--diff", "--exit-code"),
            run(BUF, "lint", str(current)),
            is_compatible(folder, current),
            is_fresh(folder),
        ]
    return 0 if all(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
