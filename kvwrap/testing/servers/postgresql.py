"""A PostgreSQL server for tests."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from kvwrap.errors import StoreUnavailable
from kvwrap.testing.servers.base import START_TIMEOUT, LocalServer
from kvwrap.testing.servers.programs import environment_of

USER = "kvwrap"
"""The superuser of the servers, who needs no password; all others need theirs."""

_ACCESS = f"""\
local all all trust
host all {USER} 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
_STARTING_UP = b"57P03"


class PostgreSQLServer(LocalServer):
    """A PostgreSQL server started by this process, empty, which does not wait for the disk.

    PostgreSQL refuses to run as root: then it runs as the user `nobody`.

    >>> with PostgreSQLServer() as server:  # doctest: +SKIP
    ...     store = PostgreSQLStore(server.url)

    Args:
        arguments: Additional arguments for the server's command line, such as `-c` and
            `max_connections=5`.
        program: Path of the program to run instead of the newest `postgres`, beside its `initdb`.

    Raises:
        MissingServerError: PostgreSQL is not installed.
    """

    program_name: ClassVar[str] = "postgres"

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, as a superuser."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def account(self) -> str | None:
        return unprivileged()

    def prepare(self, folder: Path) -> None:
        if (folder / "data").exists():
            return
        subprocess.run(
            [
                str(self.program.resolve().with_name("initdb")),
                *("-D", str(folder / "data"), "-U", USER, "-A", "trust"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            user=self.account(),
            cwd=folder,
            env=environment_of(self.program),
            check=True,
            capture_output=True,
        )
        (folder / "data" / "pg_hba.conf").write_text(_ACCESS)

    def command(self, folder: Path) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
        }
        options = (("-c", f"{name}={value}") for name, value in settings.items())
        return ["-D", str(folder / "data"), *(word for option in options for word in option)]

    def answers(self, timeout: float = 1.0) -> bool:
        words = b"".join(
            word + b"\0" for word in (b"user", USER.encode(), b"database", b"postgres")
        )
        message = struct.pack("!ii", len(words) + 9, 196608) + words + b"\0"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
                connection.sendall(message)
                answer = connection.recv(256)
        except OSError:
            return False
        return answer[:1] in {b"R", b"E"} and _STARTING_UP not in answer

    def make_standby(self) -> None:
        """Let the server be a read-only standby from its next start on, without a primary."""
        (self.directory / "data" / "standby.signal").touch()

    def freeze(self) -> None:
        """Pause all processes of the server (SIGSTOP): connections stay open."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen server (SIGCONT)."""
        for pid in reversed(self._processes()):
            os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill all processes of the server (SIGKILL), as a loss of power would."""
        children = self._processes()[1:]
        super().kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # The next start is refused while one of them has the shared memory.
        deadline = time.monotonic() + START_TIMEOUT
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"processes of {self.program} do not end: {children}")
            time.sleep(0.002)

    def _processes(self) -> list[int]:
        """Return the ids of the server's processes, the first one's first."""
        try:
            pid = self.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except (StoreUnavailable, OSError):
            return []
        return [pid, *map(int, children.split())]


def unprivileged() -> str | None:
    """Return the user to run a program as that refuses to run as root; None for this one."""
    return "nobody" if os.geteuid() == 0 else None
