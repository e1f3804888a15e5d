"""A Unix socket that serves what a stack counts, to its own user."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from kvwrap.core.threads import run_in_thread
from kvwrap.core.validation import path_text
from kvwrap.errors import ConfigurationError

LONGEST: Final = 107 if sys.platform == "linux" else 103
"""Bytes of the path of a socket."""

_CLIENTS: Final = 8
_WAITING: Final = 64
_PATIENCE: Final = 2.0
_FRESH: Final = 0.1


def checked_socket(path: Any) -> str | None:
    """Return the absolute path of a socket, in which `{pid}` may stand for the process.

    Raises:
        ConfigurationError: It is not a path, or too long for a socket.
    """
    if path is None:
        return None
    text = path_text(path)
    if text is None:
        raise ConfigurationError(
            "`socket` must be the path of a Unix socket such as '/run/app/kvwrap.sock'; got "
            f"{path!r}"
        )
    absolute = str(Path(text).absolute())
    length = len(os.fsencode(absolute.replace("{pid}", "4194304")))  # the largest of Linux
    if length > LONGEST:
        raise ConfigurationError(
            f"`socket` must be a path of at most {LONGEST} bytes, since the system allows no more "
            f"for a Unix socket; {absolute!r} has {length}: choose a shorter one, such as in /run"
        )
    return absolute


class FigureServer:
    """Serves a description on a Unix socket: who connects gets it as a line of JSON.

    Nothing is read from clients. One that does not take its line within two seconds is
    disconnected, and so is each beyond eight at a time. The description is made at most ten times
    a second, however many ask. A forked child does not serve, and leaves the file alone.

    Args:
        path: The path of the socket, absolute, with `{pid}` for the process.
        describe: Returns the description, which JSON can hold.
    """

    def __init__(self, path: str, describe: Callable[[], Any]) -> None:
        self._path = path
        self._describe = describe
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._file: tuple[int, int] | None = None
        self._pid = 0
        self._clients: set[asyncio.Task[None]] = set()
        self._line = b""
        self._made_at = -_FRESH

    async def start(self) -> None:
        """Open the socket, with mode 0600.

        The file of a process that has ended is replaced.

        Raises:
            ConfigurationError: Another process serves there, or there is another kind of file, or
                the socket cannot be made.
        """
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        path = self._path.replace("{pid}", str(self._pid))
        made, self._file = await run_in_thread(_listen, path)
        self._socket = made
        _SERVERS.add(self)
        # Not a server of asyncio: in Python 3.11 one that is closed at the wrong moment loses a
        # client that it has accepted, which then waits for ever.
        self._loop.add_reader(made, self._accept)

    async def stop(self) -> None:
        """Close the socket and remove its file, if it is still that of this process."""
        made, self._socket = self._socket, None
        if made is None or os.getpid() != self._pid:
            return
        _SERVERS.discard(self)
        _remove(self._path.replace("{pid}", str(self._pid)), self._file)
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(made)
        made.close()
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def forget(self) -> None:
        """Close the socket in a forked child, where it would keep clients waiting."""
        made, self._socket = self._socket, None
        if made is not None:
            made.close()

    def _accept(self) -> None:
        made, loop = self._socket, self._loop
        if made is None or loop is None:
            return
        try:
            client, _ = made.accept()
        except BlockingIOError:
            return
        except OSError:
            # Without a free descriptor the client stays in the queue, and would be tried at once.
            loop.remove_reader(made)
            loop.call_later(1, self._resume)
            return
        if len(self._clients) >= _CLIENTS:
            client.close()
            return
        client.setblocking(False)
        task = loop.create_task(self._send(client))
        self._clients.add(task)
        task.add_done_callback(partial(self._end, client))

    def _resume(self) -> None:
        if self._socket is not None and self._loop is not None:
            self._loop.add_reader(self._socket, self._accept)

    async def _send(self, client: socket.socket) -> None:
        with suppress(OSError, TimeoutError):  # it has gone, or is too slow
            async with asyncio.timeout(_PATIENCE):
                await asyncio.get_running_loop().sock_sendall(client, self._current())

    def _end(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()
        self._clients.discard(task)

    def _current(self) -> bytes:
        now = time.monotonic()
        if now - self._made_at >= _FRESH:
            self._line = msgspec.json.encode(self._describe()) + b"\n"
            self._made_at = now
        return self._line


_SERVERS: weakref.WeakSet[FigureServer] = weakref.WeakSet()


def _forget_parent() -> None:
    for server in list(_SERVERS):
        server.forget()
    _SERVERS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def _identity(path: str) -> tuple[int, int]:
    found = Path(path).lstat()
    return found.st_dev, found.st_ino


def _remove(path: str, file: tuple[int, int] | None) -> None:
    """Remove a file, unless another one is there by now."""
    with suppress(OSError):
        if _identity(path) == file:
            Path(path).unlink()


def _listen(path: str) -> tuple[socket.socket, tuple[int, int]]:
    """Return a socket that listens at a path, in place of what a dead process has left.

    With it comes the identity of its file.
    """
    import fcntl  # not everywhere, as Unix sockets are

    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux makes the file with the mode of the socket, so that nobody else can connect before.
        os.fchmod(made.fileno(), 0o600)
        folder = os.open(Path(path).parent, os.O_RDONLY)
        try:
            # Two processes that begin would each remove what the other has just made.
            fcntl.flock(folder, fcntl.LOCK_EX)
            _clear(path)
            made.bind(path)
            Path(path).chmod(0o600)
            made.listen(_WAITING)
            file = _identity(path)
        finally:
            os.close(folder)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"the socket {path!r} of Statistics cannot be made ({error.strerror or error}): its "
            "folder must exist, and this user must be allowed to write to it"
        ) from error
    except BaseException:
        made.close()
        raise
    return made, file


def _clear(path: str) -> None:
    """Remove the socket of a process that has ended."""
    try:
        found = Path(path).lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError(
            f"`socket` must be free or a socket; at {path!r} is another kind of file: choose "
            "another path, or remove it"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(1)
        try:
            other.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except OSError:
            raise ConfigurationError(_taken(path)) from None
        else:
            raise ConfigurationError(_taken(path))


def _taken(path: str) -> str:
    return (
        f"`socket` must be a path of this stack alone; a process serves at {path!r} already: for "
        "several processes, write {pid} into it"
    )
