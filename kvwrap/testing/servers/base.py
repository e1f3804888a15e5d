"""A server for tests: started on a free loopback port, with its files in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from kvwrap.errors import StoreUnavailable
from kvwrap.testing.servers.programs import environment_of, require_server

START_TIMEOUT = 20.0
"""Maximum seconds from a server's start to its first answer."""


class LocalServer:
    """A server started by this process, empty when it starts.

    A subclass defines `program_name`, `url`, `command` and `answers`, and may define `prepare`,
    `environment`, `parent` and `account`.

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `program_name`.

    Attributes:
        program_name: Name of the server's program.
        start_timeout: Maximum seconds from a start of the server to its first answer.
        program: Path of the program that is run.
        arguments: The additional arguments.
        port: TCP port on 127.0.0.1, 0 before the first start. It stays the same when the server
            is started again, so that its clients find it.

    Raises:
        MissingServerError: The program is not installed.
    """

    program_name: ClassVar[str]
    start_timeout: ClassVar[float] = START_TIMEOUT

    def __init__(self, *arguments: str, program: str | None = None) -> None:
        self.program = require_server(program or self.program_name)
        self.arguments = arguments
        self.port = 0
        self._has_answered = False
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def url_variable(cls) -> str:
        """Return the environment variable with the URL of a running server of this class."""
        return f"KVWRAP_{cls.__name__.removesuffix('Server').upper()}_URL"

    @property
    def url(self) -> str:
        """The URL of the server."""
        raise NotImplementedError

    def command(self, folder: Path) -> Sequence[str]:
        """Return the arguments that start the server on `port`, with its files in `folder`."""
        raise NotImplementedError

    def answers(self, timeout: float = 1.0) -> bool:
        """Ask the server whether it is ready. Returns False after `timeout` seconds, if not."""
        raise NotImplementedError

    def prepare(self, folder: Path) -> None:
        """Make the files that the server needs before it is started; called before every start."""

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Return further variables of the server's environment."""
        return {}

    def parent(self) -> Path | None:
        """Return the folder to make the server's in; None for that of temporary files."""
        return None

    def account(self) -> str | None:
        """Return the user to run the server as; None for the user of this process."""
        return None

    @property
    def directory(self) -> Path:
        """Folder of the server's files. Raises StoreUnavailable if it was not started."""
        if self._folder is None:
            raise StoreUnavailable(f"{self.program.name} has no files; call start() first")
        return Path(self._folder.name)

    @property
    def pid(self) -> int:
        """Process id of the server. Raises StoreUnavailable if it is not running."""
        if self._process is None:
            raise StoreUnavailable(f"{self.program.name} is not running; call start() first")
        return self._process.pid

    def start(self) -> Self:
        """Start the server, on the same port as before, and wait until it answers.

        A server that is running is left as it is.

        Raises:
            StoreUnavailable: The process ended, or did not answer in time. The message ends with
                the last lines of its log.
        """
        if self._process is not None and self._process.poll() is None:
            return self
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="kvwrap-server-", dir=self.parent())
            if (account := self.account()) is not None:
                shutil.chown(self.directory, account)
        self.prepare(self.directory)
        for _ in range(5):
            self.port = self.port or free_port()
            if self._start_once(self.directory):
                self._has_answered = True
                return self
            # Another process may have taken the port before the server bound it: try another one.
            if not self._has_answered:
                self.port = 0
        log = self._log_tail()
        port = f" on its port {self.port}" if self._has_answered else ""
        self.stop()
        raise StoreUnavailable(f"{self.program} did not start{port}: {log}")

    def _start_once(self, folder: Path) -> bool:
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(self.program), *self.command(folder), *self.arguments],
                stdout=log,
                stderr=log,
                env={**environment_of(self.program), **self.environment(folder)},
                user=self.account(),
            )
        deadline = time.monotonic() + self.start_timeout
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def freeze(self) -> None:
        """Pause the process (SIGSTOP): connections stay open, and the server does not answer."""
        os.kill(self.pid, signal.SIGSTOP)
        # The signal is sent; each thread of the server may still go on for a moment.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Resume a frozen server (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL), as a crash would. The next start reuses port and folder."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Kill the server and start it again on the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Kill the server and remove its folder."""
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

    def _log_tail(self) -> str:
        if self._folder is None:
            return ""
        return (Path(self._folder.name) / "log").read_text(errors="replace")[-500:].strip()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
