"""The environments of this process: each is opened once, and shared by its stores.

LMDB must not have a file open twice in one process: its locks are those of the process, and
closing one environment would release those of the other.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kvwrap.errors import ConfigurationError
from kvwrap.stores.lmdb.environment import DATA_FILE, DATABASES, LOCK_FILE, Environment, Options
from kvwrap.stores.lmdb.errors import driver

if TYPE_CHECKING:
    import lmdb

_FIRST_MAP: Final = 64 << 20
"""Bytes of the map of a new environment; it takes addresses only, neither memory nor disk."""
_LOCK_BYTES: Final = 128 << 10
"""Bytes of a new lock file: 64 for each transaction that may read at the same time."""


class _Registry:
    """The environments that are open in this process, by the identity of their files."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.lock = threading.Lock()
        self.opened: dict[tuple[int, int], Environment] = {}

    def forget_parent(self) -> None:
        """In a forked child, leave what the parent has open, so that the child can open its own.

        An environment with a transaction in it is kept for ever, since closing it would end
        that transaction in the parent.
        """
        inherited = list(self.opened.values())
        self.clear()
        for environment in inherited:
            environment.is_inherited = True
            if environment.gate.is_empty and not environment.is_ready:
                with suppress(Exception):
                    environment.handle.close()
            else:
                _INHERITED.append(environment)


_REGISTRY = _Registry()
_INHERITED: list[Environment] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REGISTRY.forget_parent)


def acquire(folder: str, options: Options, *, read_only: bool) -> Environment:
    """Return the environment in a folder, for one more user, who must release it.

    It is opened, and its folder is created, unless this process has it open already.

    Raises:
        ConfigurationError: It is open in this process with other options.
    """
    with _REGISTRY.lock:
        environment = _REGISTRY.opened.get(_identity(folder) or (-1, -1))
        if environment is None:
            handle = _open(folder, options, read_only=read_only)
            try:
                environment = Environment(handle, folder, options, is_ready=False)
            except BaseException:
                handle.close()
                raise
            _REGISTRY.opened[environment.identity] = environment
        elif not read_only:
            _check_compatible(environment, folder, options)
        environment.users += 1
    return environment


def acquire_ready(handle: lmdb.Environment, options: Options) -> Environment:
    """Return the environment of a handle that the caller has opened, for one more user."""
    with _REGISTRY.lock:
        folder = handle.path()
        environment = _REGISTRY.opened.get(_identity(folder) or (-1, -1))
        if environment is None:
            environment = Environment(handle, folder, options, is_ready=True)
            _REGISTRY.opened[environment.identity] = environment
        environment.users += 1
    return environment


def release(environment: Environment) -> None:
    """Give up an environment. The last user closes it. Called on the environment's writer."""
    with _REGISTRY.lock:
        environment.users -= 1
        if not environment.users:
            del _REGISTRY.opened[environment.identity]
            environment.close()


def _check_compatible(environment: Environment, folder: str, options: Options) -> None:
    if environment.options != options or environment.is_read_only:
        raise ConfigurationError(
            f"the stores of one process that share the LMDB environment in {folder!r} must have "
            "the same options; got others: use one store, or give all the same arguments"
        )


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = Path(folder, DATA_FILE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _open(folder: str, options: Options, *, read_only: bool) -> Any:
    if not read_only:
        with suppress(FileExistsError):
            Path(folder).mkdir(0o700)
        _allocate_locks(folder)
    limit = options.max_bytes
    handle = driver().Environment(
        folder,
        map_size=_FIRST_MAP if limit is None else min(_FIRST_MAP, limit),
        readonly=read_only,
        create=False,
        metasync=options.synchronous == "full",
        sync=options.synchronous != "off",
        mode=0o600,
        max_dbs=len(DATABASES),
    )
    handle.reader_check()
    return handle


def _allocate_locks(folder: str) -> None:
    """Create the lock file with all its space.

    LMDB writes to a map of it. If the disk had no space for that, a signal would end the
    process. It takes as many readers as fit in the file.
    """
    descriptor = os.open(Path(folder, LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < _LOCK_BYTES:
            os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
    finally:
        # Closing ends the locks that this process has on the file. It has none: it is not open.
        os.close(descriptor)
