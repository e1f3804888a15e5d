"""A server for tests: started on a free loopback port in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.testing.servers.programs import environment_of, find_server

START_TIMEOUT = 20.0
"""Seconds that a server may take until it answers."""


class LocalServer:
    """A server of this process, empty when it starts.

    A subclass states `program_name`, `url`, `command` and `answers`.

    Args:
        arguments: Further options on the server's command line.
        program: The program to run, instead of `program_name`.

    Raises:
        ConfigurationError: The program is not on this machine.
    """

    program_name: ClassVar[str]

    def __init__(self, *arguments: str, program: str | None = None) -> None:
        name = program or self.program_name
        found = find_server(name)
        if found is None:
            raise ConfigurationError(
                f"there is no {name} on this machine: `make servers` installs it"
            )
        self.program = found
        self.arguments = arguments
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """The URL of the server."""
        raise NotImplementedError

    def command(self, folder: Path) -> Sequence[str]:
        """Return the command line that starts the server on `port`, with its files in `folder`."""
        raise NotImplementedError

    def answers(self, timeout: float = 1.0) -> bool:
        """Ask the server whether it is ready. Returns False if it is not, after `timeout`."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        if self._process is None:
            raise StoreUnavailable("the server is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start it, on the port that it had before, and wait until it answers.

        Raises:
            StoreUnavailable: It ended, or did not answer in time. The message ends with its log.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="kvwrap-server-")
        for _ in range(5):
            self.port = self.port or _free_port()
            if self._start_once(Path(self._folder.name)):
                return self
            # Another process took the port after it was chosen and before the server bound it.
            self.port = 0
        log = self._log_tail()
        self.stop()
        raise StoreUnavailable(f"{self.program} did not start: {log}")

    def _start_once(self, folder: Path) -> bool:
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(self.program), *self.command(folder), *self.arguments],
                stdout=log,
                stderr=log,
                env=environment_of(self.program),
            )
        end = time.monotonic() + START_TIMEOUT
        while self._process.poll() is None and time.monotonic() < end:
            if self.answers():
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen server (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL), as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Kill it, and start it again on the same port."""
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

    def _log_tail(self) -> str:
        if self._folder is None:
            return ""
        return (Path(self._folder.name) / "log").read_text(errors="replace")[-500:].strip()


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
    return port
