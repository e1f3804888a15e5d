"""The errors of SQLite, and what is raised for them."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from kvwrap.errors import StoreFull, StoreTimeout, StoreUnavailable


class FileReplaced(Exception):
    """The path leads to another file than the one that is open, or to none."""


class NoRoom(Exception):
    """The disk has less space than is kept for removals."""


class OpenTransaction(Exception):
    """The user's connection has a transaction that its user began."""


class Later(Exception):
    """A read that was to be made at once might have to wait, so it must be made on a thread."""


FAILURES: Final = (
    sqlite3.Error,
    UnicodeDecodeError,
    PermissionError,
    FileReplaced,
    NoRoom,
    OpenTransaction,
)
"""The errors that `translate_error` takes.

The module raises a `UnicodeDecodeError` for a damaged file whose own text is in the error's.
"""

_NO_TABLE: Final = re.compile("no such (table|column)|table .* has no column")


def translate_error(error: Exception, path: str, timeout: float, *, store: str) -> StoreUnavailable:
    """Return the error to raise for an error of SQLite or of its file, which is to be its cause."""
    # The error is shown by its name, since the text of some quotes what is stored.
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    code = code_of(error)
    if isinstance(error, FileReplaced):
        return StoreUnavailable(
            f"the SQLite file {path!r} must stay in place while the store is open; it was removed "
            "or replaced, so this call may have had no effect. Close the store and open it again, "
            "and close it before the file is moved next time",
            store=store,
        )
    if isinstance(error, OpenTransaction):
        return StoreUnavailable(
            "the connection `client` must have no transaction of its own while the store writes; "
            "it has one: commit it, or give the store another connection",
            store=store,
        )
    if is_busy(error):
        return StoreTimeout(
            f"the SQLite file {path!r} must be free of other transactions within "
            f"timeout={timeout:g} seconds; they held it longer ({name}). Give the store a longer "
            "timeout, or make the other transactions shorter",
            store=store,
        )
    if code == sqlite3.SQLITE_FULL or isinstance(error, NoRoom):
        return StoreFull(
            f"the disk has no space left for the SQLite file {path!r} ({name}): delete entries, "
            "or free some space",
            store=store,
        )
    if code == sqlite3.SQLITE_NOTADB:
        return StoreUnavailable(
            f"{path!r} must be an SQLite database or a new file; it is a file of another format, "
            f"or damaged ({name}). Give the store another path",
            store=store,
        )
    if code == sqlite3.SQLITE_CANTOPEN or isinstance(error, PermissionError):
        return StoreUnavailable(
            f"the SQLite file {path!r} cannot be opened ({name}): check that it is a file, not a "
            "folder, and that this process may read and write it",
            store=store,
        )
    if code == sqlite3.SQLITE_ERROR and _NO_TABLE.match(str(error)):
        return StoreUnavailable(
            f"the table of the SQLite file {path!r} must stay as it is while the store is open; it "
            f"was removed or changed ({name}). Close the store and open it again: it creates a "
            "missing table",
            store=store,
        )
    return StoreUnavailable(
        f"SQLite cannot use the file {path!r} ({name}): check its permissions and its disk",
        store=store,
    )


def code_of(error: BaseException) -> int:
    """Return SQLite's primary error code; 0 for errors of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def is_busy(error: BaseException) -> bool:
    """Return True if another transaction held a lock.

    SQLite says SQLITE_PROTOCOL of a lock that is held for moments only, as of a mark of the log's
    readers, when it was held for the 10 s of its attempts: by a process that stands still.
    """
    return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def check_undecodable(error: sqlite3.OperationalError) -> None:
    """Raise the error again, unless it is the module's own: that the text of a row is not UTF-8."""
    if code_of(error):
        raise error


def busy_error() -> sqlite3.OperationalError:
    """Return the error that SQLite raises while others hold the file."""
    error = sqlite3.OperationalError("the file is in use")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    error.sqlite_errorname = "SQLITE_BUSY"
    return error
