"""An open LMDB environment: its files, its map, and its transactions."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from kvwrap.core.threads import SingleThread
from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.stores.lmdb.errors import NO_SPACE, OutOfSpace, driver
from kvwrap.stores.lmdb.gate import Gate
from kvwrap.stores.lmdb.records import Databases, Records

T = TypeVar("T")

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "lock.mdb"
MIN_BYTES: Final = 4 << 20
"""Least `max_bytes`, of which a quarter is the reserve."""

_MIN_RESERVE: Final = 256
DATABASES: Final = (b"kvwrap.entries.1", b"kvwrap.expiries.1")


class Later(Exception):
    """This read may have to wait, so it must be made on a thread."""


class Options(NamedTuple):
    """What all stores of a process that share an environment must agree on.

    Attributes:
        synchronous: "full", "normal" or "off".
        max_bytes: Maximum size of the data file; None for no limit.
        timeout: Seconds to wait for transactions of this and other processes.
    """

    synchronous: str
    max_bytes: int | None
    timeout: float


class Environment:
    """An open environment, and the threads that use it.

    Args:
        handle: The driver's object.
        options: The options of the stores.
        is_ready: True if the handle is the caller's, who closes it. Then its map is never
            replaced, since that would end the caller's own transactions.

    Attributes:
        handle: The driver's object.
        options: The options of the stores.
        databases: The databases; None until they are found or created.
        gate: The transactions of this process.
        users: Number of stores that use it.
        is_read_only: True if nothing can be written.
        is_inherited: True in a process that was forked from the one that opened it.
        page_size: Bytes of a page.
        reader: The thread for reads that take longer.
        writer: The thread for transactions that write.
    """

    is_inherited = False
    users = 0
    databases: Databases | None = None

    def __init__(self, handle: Any, folder: str, options: Options, *, is_ready: bool) -> None:
        self.handle = handle
        self.options = options
        self.gate = Gate(options.timeout)
        self.reader = SingleThread(f"kvwrap {Path(folder).name} reader")
        self.writer = SingleThread(f"kvwrap {Path(folder).name}")
        self.is_ready = is_ready
        self.driver = driver()
        self._file = Path(folder, DATA_FILE)
        self.is_read_only = handle.flags()["readonly"]
        flags = os.O_RDONLY if self.is_read_only else os.O_RDWR
        self._descriptor = os.open(self._file, flags)
        status = os.fstat(self._descriptor)
        self.identity = (status.st_dev, status.st_ino)
        self._size = status.st_size
        self.page_size = handle.stat()["psize"]
        try:
            self._cover()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _cover(self) -> None:
        """Make the file as long as its pages say, since reading behind its end is fatal.

        A process that reads a page of a map which the file does not have is ended by a signal.
        """
        needed = (self.handle.info()["last_pgno"] + 1) * self.page_size
        if self._size >= needed:
            return
        if self.is_read_only:
            raise self.driver.CorruptedError("the file is truncated")
        os.posix_fallocate(self._descriptor, 0, needed)
        self._size = needed

    # -- opening and closing -----------------------------------------------------------

    def open_databases(self, transaction: Any) -> Databases:
        """Open the databases. Those that are missing are created, if the transaction may write.

        Args:
            transaction: A transaction that writes, after whose commit the databases can be used;
                or None in an environment that is read-only.

        Raises:
            ConfigurationError: The environment has other things under their names, or no room.
            StoreUnavailable: They are missing in an environment that is read-only.
        """
        create = transaction is not None
        try:
            names = (*DATABASES, None)
            opened = (self.handle.open_db(name, transaction, create=create) for name in names)
            return Databases(*opened)
        except (self.driver.IncompatibleError, self.driver.DbsFullError) as error:
            raise ConfigurationError(
                "an LMDB environment must have room for two databases of kvwrap, and no other "
                "entries under their names: give the store another folder, or open its "
                "client with max_dbs=2 or more"
            ) from error
        except self.driver.NotFoundError as error:
            raise StoreUnavailable(
                "an LMDB environment must have been written by kvwrap before it is opened for "
                "reads only; this one has none of its databases"
            ) from error

    def close(self) -> None:
        """Close the environment and end its threads."""
        with self.gate.alone(patiently=True):
            if not self.is_ready:
                self.handle.close()
            os.close(self._descriptor)
        self.writer.shutdown(wait=False)
        self.reader.shutdown(wait=False)

    def check_files(self) -> None:
        """Check that the folder still has the file that is open.

        Raises:
            StoreUnavailable: It was removed, replaced or truncated.
        """
        known = self._size  # before the file is asked, since another thread's write extends both
        try:
            status = self._file.stat()
        except OSError as error:
            raise StoreUnavailable(
                f"the file {str(self._file)!r} must stay in place while it is open; it is gone "
                f"({errno.errorcode.get(error.errno or 0, type(error).__name__)}). Close the store "
                "and open it again"
            ) from error
        if (status.st_dev, status.st_ino) != self.identity:
            raise StoreUnavailable(
                f"the file {str(self._file)!r} must stay in place while it is open; there is "
                "another one now. Close the store and open it again"
            )
        if status.st_size < known:
            raise StoreUnavailable(
                f"the file {str(self._file)!r} must not become shorter while it is open; it has "
                f"{status.st_size} bytes now. Close the store, and restore the file"
            )
        self._size = status.st_size

    # -- transactions ------------------------------------------------------------------

    def read_at_once(self, function: Callable[..., T], *args: object) -> T:
        """Call a function as `read` does.

        Raises:
            Later: The map is being replaced or must be, or dead readers are in the way.
        """
        if not self.gate.try_enter():
            raise Later
        try:
            return self._read(function, args, buffers=False)
        except (self.driver.MapResizedError, self.driver.ReadersFullError):
            raise Later from None
        finally:
            self.gate.leave()

    def read(self, function: Callable[..., T], *args: object, buffers: bool = False) -> T:
        """Call a function of the records in a transaction that reads, and of the arguments.

        Args:
            function: The function.
            args: Its further arguments.
            buffers: True if values are memory, instead of copies of it.
        """
        for is_last in (False, True):
            self.gate.enter()
            try:
                return self._read(function, args, buffers=buffers)
            except self.driver.MapResizedError:
                if is_last:
                    raise
                resized = True
            except self.driver.ReadersFullError:
                if is_last or not self.handle.reader_check():
                    raise
                resized = False
            finally:
                self.gate.leave()
            if resized:
                self.adopt_map()
        raise AssertionError("unreachable")

    def _read(self, function: Callable[..., T], args: tuple[object, ...], *, buffers: bool) -> T:
        assert self.databases is not None
        entries = self.databases.entries
        with self.handle.begin(db=entries, buffers=buffers) as transaction:
            return function(Records(self.databases, transaction), *args)

    # -- space -------------------------------------------------------------------------

    def adopt_map(self) -> None:
        """Take over a map that another process has made larger."""
        if self.is_ready:
            raise self.driver.MapResizedError("the map of a ready environment is its owner's")
        with self.gate.alone():
            self.handle.set_mapsize(0)

    def make_space(self) -> bool:
        """Free what dead readers hold, else double the map.

        Returns True if there may be more space than before.
        """
        if self.handle.reader_check():
            return True
        size = self.handle.info()["map_size"]
        limit = self.options.max_bytes
        if self.is_ready or (limit is not None and size >= limit):
            return False
        larger = 2 * size if limit is None else min(2 * size, limit)
        with self.gate.alone():
            self.handle.set_mapsize(larger)
        return True

    def ensure_room(self, transaction: Any) -> None:
        """Keep free pages within the file, without which nothing could be deleted.

        LMDB never changes a page in place. If neither the map nor the disk had a free page, a
        removal would fail like any other change. Only writes need this reserve; removals take
        from it, and return more than that.

        Raises:
            OutOfSpace: There is no room for the reserve, so this transaction must be aborted.
        """
        assert self.databases is not None
        used = Records(self.databases, transaction).count_pages()
        reserve = max(_MIN_RESERVE, used // 32)
        needed = (used + reserve) * self.page_size
        limit = self.options.max_bytes
        if limit is not None and needed > limit:
            raise OutOfSpace
        # As `check_files` has found it in this transaction, and nobody else writes.
        size = self._size
        if size < needed:
            more = (
                reserve * self.page_size
                if limit is None
                else min(reserve * self.page_size, limit - needed)
            )
            # With some to spare, so that not every write allocates.
            if not self._allocate(size, needed + more) and not self._allocate(size, needed):
                raise OutOfSpace

    def _allocate(self, size: int, wanted: int) -> bool:
        """Extend the file. Returns False if the disk has no space."""
        try:
            os.posix_fallocate(self._descriptor, size, wanted - size)
        except OSError as error:
            # A file system that cannot reserve space reports that it is full when it is.
            return error.errno not in NO_SPACE
        else:
            self._size = max(self._size, wanted)
        return True
