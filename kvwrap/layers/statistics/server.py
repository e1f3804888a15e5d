"""A Unix socket that serves what a stack counts, to its own user."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from kvwrap.core.concurrency import cancel_and_wait
from kvwrap.core.deadlines import time_limit
from kvwrap.core.threads import SingleThread
from kvwrap.core.validation import path_text
from kvwrap.errors import ConfigurationError
from kvwrap.layers.statistics.sockets import PROCESS, Listener, listen

LONGEST: Final = 107 if sys.platform == "linux" else 103
"""Bytes of the path of a socket."""

_CLIENTS: Final = 8
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
    length = len(os.fsencode(absolute.replace(PROCESS, "4194304")))  # the largest of Linux
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
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._clients: set[asyncio.Task[None]] = set()
        self._line = b""
        self._made_at = -_FRESH

    async def start(self) -> None:
        """Open the socket, with mode 0600.

        The file of a process that has ended is replaced. If this is cancelled, the socket is
        closed before the error is raised.

        Raises:
            ConfigurationError: Another process serves there, or there is another kind of file, or
                the socket cannot be made.
        """
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        made: list[Listener] = []
        thread = SingleThread("kvwrap-socket")
        try:
            await thread.run(lambda: made.append(listen(self._path)), cancel=lambda: None)
        except asyncio.CancelledError:
            for each in made:
                each.close()
            raise
        finally:
            thread.shutdown(wait=False)
        (self._listener,) = made
        _SERVERS.add(self)
        # Not a server of asyncio: in Python 3.11 one that is closed at the wrong moment loses a
        # client that it has accepted, which then waits for ever.
        self._loop.add_reader(self._listener.socket, self._accept)

    async def stop(self) -> None:
        """Close the socket and remove its file, if it is still that of this process."""
        made, self._listener = self._listener, None
        if made is None or os.getpid() != self._pid:
            return
        _SERVERS.discard(self)
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(made.socket)
        made.close()
        await cancel_and_wait(self._clients)

    def forget(self) -> None:
        """Close the socket in a forked child, where it would keep clients waiting."""
        made, self._listener = self._listener, None
        if made is not None:
            made.socket.close()

    def _accept(self) -> None:
        made, loop = self._listener, self._loop
        if made is None or loop is None:
            return
        try:
            client, _ = made.socket.accept()
        except BlockingIOError:
            return
        except OSError:
            # Without a free descriptor the client stays in the queue, and would be tried at once.
            loop.remove_reader(made.socket)
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
        if self._listener is not None and self._loop is not None:
            self._loop.add_reader(self._listener.socket, self._accept)

    async def _send(self, client: socket.socket) -> None:
        # It has gone, or is too slow.
        with suppress(OSError, TimeoutError), time_limit(_PATIENCE):
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
