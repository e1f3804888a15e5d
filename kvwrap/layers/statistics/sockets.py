"""The files of Unix sockets: made under a lock, in place of what dead processes have left."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from kvwrap.errors import ConfigurationError

_WAITING: Final = 64
_PATIENCE: Final = 1.0
_PAUSE: Final = 0.01

PROCESS: Final = "{pid}"
"""Stands for the number of the process in the path of a socket."""


class Listener(NamedTuple):
    """A socket that listens, and what tells its file from another one of the same path."""

    socket: socket.socket
    path: str
    file: tuple[int, int]

    def close(self) -> None:
        """Close the socket and remove its file, unless another one is there by now."""
        with suppress(OSError):
            if _identity(self.path) == self.file:
                Path(self.path).unlink()
        self.socket.close()


def listen(template: str) -> Listener:
    """Listen at a path, with mode 0600, in place of what a dead process has left.

    Where the path has the number of the process, those of dead processes are removed, too.

    Args:
        template: The path, absolute, with `{pid}` for the process.

    Raises:
        ConfigurationError: Another process serves there or is about to, or there is another kind
            of file, or the socket cannot be made.
    """
    path = template.replace(PROCESS, str(os.getpid()))
    try:
        with _locked(path, _PATIENCE) as is_locked:
            if not is_locked:
                raise ConfigurationError(
                    f"`socket` must be a path of this stack alone; another process has locked "
                    f"{_lock_of(path)!r} for {_PATIENCE:g} s: end it, or choose a path in a folder "
                    "that only this user may write to"
                )
            _clear(path)
            made = _listen(path)
    except OSError as error:
        raise ConfigurationError(
            f"the socket {path!r} of Statistics cannot be made ({error.strerror or error}): its "
            "folder must exist, and this user must be allowed to write to it"
        ) from error
    for other in siblings(template):
        with suppress(OSError):
            if Path(other).lstat().st_uid == os.geteuid() and is_dead(other):
                _remove_dead(other)
    return made


def siblings(template: str) -> list[str]:
    """Return the sockets whose paths have the number of a process in place of `{pid}`."""
    path = Path(template)
    pattern = re.compile(r"\d+".join(map(re.escape, path.name.split(PROCESS))))
    try:
        return sorted(
            str(each)
            for each in path.parent.iterdir()
            if pattern.fullmatch(each.name) and stat.S_ISSOCK(each.lstat().st_mode)
        )
    except OSError:
        return []


def is_dead(path: str) -> bool:
    """Return True if a socket refuses connections, since its process has ended."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:  # too many wait already, or it is another user's
            pass
    return False


def _listen(path: str) -> Listener:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux makes the file with the mode of the socket, so that nobody else can connect before.
        os.fchmod(made.fileno(), 0o600)
        made.bind(path)
        Path(path).chmod(0o600)
        made.listen(_WAITING)
        made.setblocking(False)
        return Listener(made, path, _identity(path))
    except BaseException:
        made.close()
        raise


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
    if not is_dead(path):
        raise ConfigurationError(
            f"`socket` must be a path of this stack alone; a process serves at {path!r} already: "
            "for several processes, write {pid} into it"
        )
    Path(path).unlink()


def _remove_dead(path: str) -> None:
    """Remove a socket if it is dead, and not one that is being made."""
    with _locked(path, 0) as is_locked:
        if is_locked and is_dead(path):
            Path(path).unlink()


@contextmanager
def _locked(path: str, patience: float) -> Iterator[bool]:
    """Lock the path of a socket. Yields False if another process had the lock all the time.

    Two processes that begin would each remove what the other has just made. The lock is a file
    that no other user can open, so none can keep it, and it is removed in the end.
    """
    import fcntl  # not everywhere, as Unix sockets are

    name = _lock_of(path)
    give_up_at = time.monotonic() + patience
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(name, lock):  # and not removed by who had it before
                    try:
                        yield True
                    finally:
                        Path(name).unlink(missing_ok=True)
                    return
        finally:
            os.close(lock)
        if time.monotonic() >= give_up_at:
            yield False
            return
        time.sleep(_PAUSE)


def _lock_of(path: str) -> str:
    return f"{path}.lock"


def _is_at(path: str, file: int) -> bool:
    try:
        return os.path.samestat(Path(path).lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _identity(path: str) -> tuple[int, int]:
    found = Path(path).lstat()
    return found.st_dev, found.st_ino
