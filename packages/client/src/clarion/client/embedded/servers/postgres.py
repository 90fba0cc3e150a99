"""PostgreSQL on loopback, with a database and a role of its own, and passwords."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from clarion.client.embedded import binaries, ports
from clarion.client.embedded.accounts import Account, give, unprivileged_account
from clarion.client.embedded.child import Child, Command
from clarion.client.embedded.errors import StartError
from clarion.client.embedded.log_files import tail
from clarion.client.embedded.servers.server import Server, make_folder

_NAME = "clarion"
_SUPERUSER = "postgres"
_IPC_RMID = 0
_SETTINGS = {
    "listen_addresses": ports.HOST,
    # TCP alone: no socket file is left behind and no path is too long for one.
    "unix_socket_directories": "",
    "max_connections": "200",
    # Taken as it is used. With the people of a large tenant in it, none is read anew.
    "shared_buffers": "512MB",
    # After a checkpoint each page is logged as a whole once more.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # Nothing replicates from here; the write-ahead log is smaller for it.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # In the data folder, where a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer(Server):
    """A PostgreSQL server; `url` is a psycopg DSN of an ordinary role.

    The role owns the database ``clarion`` and may create databases. Every role has a
    random password, kept in the folder and readable by its owner alone: without one,
    anybody on the machine could run programs as the server's account.
    """

    name: ClassVar[str] = "postgres"
    # Its own account must pass it to the data, which that account alone can read.
    folder_mode: ClassVar[int] = 0o711

    def __init__(
        self, folder: Path, *, port: int | None = None, log: Path | None = None
    ) -> None:
        super().__init__(folder, port=port, log=log)
        self._data = self.folder / "data"
        self._account: Account | None = None
        self._is_set_up = False

    @property
    def url(self) -> str:
        return self._url(_NAME, _NAME)

    async def prepare(self) -> None:
        await super().prepare()
        self._account = unprivileged_account([self._data, binaries.postgres("initdb")])
        if not (self._data / "PG_VERSION").exists():
            await self._make_data()
        elif self._account is not None:
            give(self._data, self._account)

    def command(self) -> Command:
        settings = {"port": str(self.port), **_SETTINGS}
        options = [part for k, v in settings.items() for part in ("-c", f"{k}={v}")]
        return Command(
            (str(binaries.postgres("postgres")), "-D", str(self._data), *options),
            account=self._account,
            # "Fast shutdown": sessions are ended, nothing is waited for.
            stop_signal=signal.SIGINT,
            # "Immediate shutdown": ends its own children and shared memory, at once.
            death_signal=signal.SIGQUIT,
        )

    async def check(self) -> None:
        if not self._is_set_up:
            await self._set_up()
            self._is_set_up = True
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute("SELECT 1")

    async def start(self, timeout: float = 30) -> None:
        self.clean_up()
        await super().start(timeout)

    def clean_up(self) -> None:
        """Removes the shared memory of a server that was killed."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            identifier = int(lines[6].split()[1])
        except (OSError, IndexError, ValueError):
            return  # stopped in good order, or never started
        if self.pid is None and not _exists(int(lines[0])):
            ctypes.CDLL(None).shmctl(identifier, _IPC_RMID, None)
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    async def _make_data(self) -> None:
        secret = self._password(_SUPERUSER)
        given = self.folder / "initdb.password"
        given.touch(mode=0o600)
        given.write_text(secret)
        # Made under another name: a folder by the final name is always complete.
        made = self.folder / "data.new"
        await asyncio.to_thread(_empty, made)
        if self._account is not None:
            for path in (made, given):
                os.chown(path, self._account.uid, self._account.gid)
        initdb = Child.spawn(
            Command(
                (
                    *(str(binaries.postgres("initdb")), "-D", str(made)),
                    *("--username", _SUPERUSER, "--pwfile", str(given)),
                    *("--auth-host=scram-sha-256", "--auth-local=reject"),
                    # Built in, so that it does not depend on the system's locales.
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    *("--locale=C", "--encoding=UTF8", "--no-instructions"),
                ),
                account=self._account,
            ),
            self.log,
        )
        try:
            status = await initdb.wait()
        finally:
            initdb.kill()
            given.unlink()
        if status != 0:
            raise StartError(f"initdb ended with status {status}:\n{tail(self.log)}")
        made.rename(self._data)

    async def _set_up(self) -> None:
        """Makes the role and the database at the first start."""
        connection = await psycopg.AsyncConnection.connect(
            self._url(_SUPERUSER, "postgres"), autocommit=True
        )
        async with connection:
            found = await connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (_NAME,)
            )
            if found.rowcount:
                return
            name, password = sql.Identifier(_NAME), sql.Literal(self._password(_NAME))
            for statement in (
                sql.SQL("DROP ROLE IF EXISTS {}").format(name),
                sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(
                    name, password
                ),
                sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name),
            ):
                await connection.execute(statement)

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{self._password(role)}@{self.address}/{database}"

    def _password(self, role: str) -> str:
        file = self.folder / f"{role}.password"
        try:
            return file.read_text()
        except FileNotFoundError:
            make_folder(self.folder, self.folder_mode)
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
            return file.read_text()


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
