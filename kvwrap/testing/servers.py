"""Real servers for tests: started on a free loopback port in a folder of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kvwrap.errors import ConfigurationError, StoreUnavailable

UNPACKED = Path(sys.prefix) / "servers"
"""Where `scripts/servers.py` unpacks servers that it may not install."""

_PATIENCE = 20.0


def find_server(name: str) -> Path | None:
    """The program of a server: one on the PATH, else an unpacked one, else `None`."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED / "usr" / "bin"))
    return None if found is None else Path(found)


def environment_of(program: Path) -> Mapping[str, str]:
    """The environment to start a program with: an unpacked one finds its libraries there."""
    if not program.is_relative_to(UNPACKED):
        return os.environ
    libraries = {str(found.parent) for found in UNPACKED.glob("**/lib*.so*")}
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries))}


class RedisServer:
    """A Redis server of this process's own, empty, keeping nothing on disk.

    >>> with RedisServer() as server:  # doctest: +SKIP
    ...     store = RedisStore(server.url)

    Args:
        arguments: More of the server's own options, as on its command line.
        program: The program to run, instead of the `redis-server` that is found.

    Raises:
        ConfigurationError: There is no `redis-server`.
    """

    def __init__(self, *arguments: str, program: str = "redis-server") -> None:
        found = find_server(program)
        if found is None:
            raise ConfigurationError(
                f"there is no {program} on this machine: `make servers` sets one up"
            )
        self.program = found
        self.arguments = arguments
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise StoreUnavailable("the server is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start it, again on the port that it had before, and wait until it answers.

        Raises:
            StoreUnavailable: It ended, or did not answer in time; its last words are told.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="kvwrap-redis-")
        for _ in range(5):
            self.port = self.port or _free_port()
            if self._started(Path(self._folder.name)):
                return self
            # Somebody else took the port between our asking and the server's binding.
            self.port = 0
        words = self._last_words()
        self.stop()
        raise StoreUnavailable(f"{self.program} did not start: {words}")

    def _started(self, folder: Path) -> bool:
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(self.program),
                    *("--bind", "127.0.0.1", "--port", str(self.port)),
                    *("--dir", str(folder), "--save", "", "--appendonly", "no"),
                    *self.arguments,
                ],
                stdout=log,
                stderr=log,
                env=environment_of(self.program),
            )
        end = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < end:
            if self.answers():
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def answers(self, timeout: float = 1.0) -> bool:
        """Whether it answers a PING within so many seconds."""
        try:
            # A server that asks for a password answers too.
            return self._asked("PING", timeout)[:1] in {b"+", b"-"}
        except OSError:
            return False

    def flush(self) -> None:
        """Make it empty again.

        Raises:
            StoreUnavailable: It does not answer, or will not.
        """
        try:
            answer = self._asked("FLUSHALL", _PATIENCE)
        except OSError as error:
            raise StoreUnavailable("the server does not answer") from error
        if not answer.startswith(b"+"):
            raise StoreUnavailable(f"the server refused: {answer.decode(errors='replace')}")

    def _asked(self, command: str, timeout: float) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as link:
            link.sendall(f"{command}\r\n".encode())
            return link.recv(256)

    def freeze(self) -> None:
        """Stop its process in its tracks: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would; what it held is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Kill it, and start it again on the same port, empty."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it and remove its folder."""
        self.kill()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _last_words(self) -> str:
        if self._folder is None:
            return ""
        return (Path(self._folder.name) / "log").read_text(errors="replace")[-500:].strip()


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
    return port
