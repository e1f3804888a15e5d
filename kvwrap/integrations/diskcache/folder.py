"""The files of a diskcache: `cache.db`, and a file for each large value.

`cache.db` is a database of SQLite with the table `Cache`, a row for each item:

=========== ===================================================================
column      meaning
=========== ===================================================================
key, raw    the key; it is a pickle if `raw` is 0. `JSONDisk`: zlib of JSON, raw
expire_time Unix seconds, NULL for no expiry
mode        1: the column `value`; 2 and 3: a file of bytes, or of text; 4: a pickle
filename    the file, relative to the folder; NULL if the value is in `value`
=========== ===================================================================

A `FanoutCache` has such a folder for each shard: `000`, `001` and so on.

Folders may come from elsewhere, so nothing in them is trusted: pickles are never loaded, files are
opened only within the folder and through no link, and sizes are bounded.
"""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from kvwrap.core import codec
from kvwrap.core.serializer import JSON
from kvwrap.core.validation import checked_key
from kvwrap.errors import (
    ConfigurationError,
    CorruptEntry,
    InvalidKey,
    KvwrapError,
    StoreUnavailable,
    ValueTooLarge,
)

_DATABASE: Final = "cache.db"
_RAW, _BINARY, _TEXT = 1, 2, 3
_COLUMNS: Final = {"key", "raw", "expire_time", "mode", "filename", "value"}
_LONGEST_KEY: Final = 64 * 1024
"""Bytes of a key, decompressed. A longer one is left."""
_KEYS: Final = f"""
    SELECT rowid, typeof(key), CASE WHEN length(key) <= {_LONGEST_KEY} THEN key END,
           raw, expire_time, mode
    FROM Cache
"""  # noqa: S608  # a constant
_ITEM: Final = """
    SELECT typeof(key), CASE WHEN length(key) <= :key THEN key END,
           raw, expire_time, mode, filename,
           typeof(value), length(CAST(value AS BLOB)),
           CASE WHEN length(CAST(value AS BLOB)) <= :value THEN value END
    FROM Cache WHERE rowid = :row
"""


class Found(NamedTuple):
    """The value of an item, as an entry's body and codec, and its expiry time."""

    body: bytes
    codec: bytes
    expires_at: float | None


class _Place(NamedTuple):
    """Where an item is: in which part of the folder, in which row, and until when."""

    part: int
    row: int
    expires_at: float | None


class Folder:
    """Reads a folder, on one thread.

    Args:
        path: The folder.
        json: True if `JSONDisk` wrote it.
        max_size: Maximum number of bytes of a value.

    Attributes:
        unreadable: Number of the items that are left.
    """

    def __init__(self, path: Path, *, json: bool, max_size: int) -> None:
        self._path = path
        self._json = json
        self._max_size = max_size
        self._parts: list[tuple[Path, sqlite3.Connection]] = []
        self._places: dict[str, _Place] = {}
        self.unreadable = 0

    def open(self, now: float) -> None:
        """Open the database, or those of the shards, and look through all keys.

        Raises:
            ConfigurationError: It is not a folder of diskcache.
            StoreUnavailable: One cannot be read.
        """
        paths = [self._path]
        if not _is_file(self._path / _DATABASE):
            paths = sorted(
                folder
                for folder in self._path.glob("[0-9][0-9][0-9]")
                if _is_file(folder / _DATABASE)
            )
        if not paths:
            raise ConfigurationError(
                f"`folder` must be the folder of a diskcache, with a file {_DATABASE} or folders "
                f"000, 001, … that have one; {str(self._path)!r} is not such a folder"
            )
        with _errors():
            for index, path in enumerate(paths):
                self._parts.append((path, _connect(path / _DATABASE)))
                self._index(index, now)

    def _index(self, part: int, now: float) -> None:
        _, connection = self._parts[part]
        for row, kind, key, raw, expire_time, mode in connection.execute(_KEYS):
            expires_at = _expiry(expire_time)
            if expires_at is not None and expires_at <= now:
                continue
            name = self._name(kind, key, raw)
            if name is None or mode not in (_RAW, _BINARY, _TEXT):
                self.unreadable += 1
            else:
                self._places[name] = _Place(part, row, expires_at)

    def close(self) -> None:
        """Close the databases."""
        for _, connection in self._parts:
            connection.close()
        self._parts.clear()

    def keys(self, now: float) -> list[str]:
        """Return the keys that are text, and have not expired."""
        return [
            name
            for name, place in self._places.items()
            if place.expires_at is None or place.expires_at > now
        ]

    def _name(self, kind: bytes, key: bytes | None, raw: object) -> str | None:
        """Return the key if it is text, and may be a key of kvwrap; else None."""
        if key is None or raw != 1 or kind != (b"blob" if self._json else b"text"):
            return None
        try:
            name = JSON.loads(_inflate(key, _LONGEST_KEY)) if self._json else key.decode()
            return checked_key(name)
        except (InvalidKey, ValueError):
            return None

    # -- values ------------------------------------------------------------------------------

    def read(self, names: Sequence[str]) -> list[Found | None]:
        """Return the values of these keys, None for each that is not, or no longer, there.

        Raises:
            CorruptEntry: A value is damaged.
            ValueTooLarge: A value is larger than `max_size`.
        """
        with _errors():
            return [self._read(name) for name in names]

    def _read(self, name: str) -> Found | None:
        place = self._places.get(name)
        if place is None:
            return None
        folder, connection = self._parts[place.part]
        arguments = {"row": place.row, "key": _LONGEST_KEY, "value": self._max_size}
        item = connection.execute(_ITEM, arguments).fetchone()
        # Another item may have got the row meanwhile.
        if item is None or self._name(*item[:3]) != name:
            return None
        _, _, _, expire_time, mode, filename, kind, size, value = item
        with _named(name):
            if filename is not None and mode in (_BINARY, _TEXT):
                data = self._file(folder, filename)
                kind = b"text" if mode == _TEXT else b"blob"
            elif mode == _RAW:
                if size is not None and size > self._max_size:
                    raise self._too_large()
                data = value
            else:
                return None  # another kind of item has replaced it
            body, steps = self._decode(kind, data)
        return Found(body, steps, _expiry(expire_time))

    def _decode(self, kind: bytes, data: Any) -> tuple[bytes, bytes]:
        """Return a value as the body and the codec of an entry."""
        if self._json:
            if kind != b"blob":
                raise _corrupt("is not of a folder of JSONDisk")
            return JSON.dumps(JSON.loads(_inflate(data, self._max_size))), codec.JSON
        if kind == b"blob":
            return data, codec.BYTES
        if data is None:
            raise _corrupt("is no number")
        return JSON.dumps(data.decode() if kind == b"text" else data), codec.JSON

    def _file(self, folder: Path, filename: object) -> bytes:
        """Return the content of a file within the folder, which no link leads out of."""
        parts = os.fsdecode(filename).split("/") if isinstance(filename, bytes) else []
        if not parts or not all(part and part != ".." and "\0" not in part for part in parts):
            raise _corrupt("must be in a file within the folder; its path leads elsewhere")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # the last one is for pipes
        opened = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY)]
        try:
            for part in parts[:-1]:
                flags_of_folder = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY
                opened.append(os.open(part, flags_of_folder, dir_fd=opened[-1]))
            opened.append(os.open(parts[-1], flags, dir_fd=opened[-1]))
            found = os.fstat(opened[-1])
            if not stat.S_ISREG(found.st_mode):
                raise _corrupt("must be in a file; its path is that of something else")
            if found.st_size > self._max_size:
                raise self._too_large()
            with os.fdopen(opened.pop(), "rb") as file:
                return file.read(self._max_size)
        except OSError as error:
            raise _corrupt("is in a file that cannot be opened") from error
        finally:
            for each in opened:
                os.close(each)

    def _too_large(self) -> ValueTooLarge:
        return ValueTooLarge(
            f"a value must have at most {self._max_size} bytes; this one has more: pass a larger "
            "`max_size`"
        )


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database to read it. What its schema could execute is refused."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5, check_same_thread=False
    )
    try:
        # Text may be no UTF-8.
        connection.text_factory = bytes
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        _check_schema(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_schema(connection: sqlite3.Connection) -> None:
    """Raise `StoreUnavailable` unless the table is an ordinary one with the columns above."""
    tables = connection.execute(
        "SELECT type, rootpage FROM sqlite_master WHERE lower(name) = 'cache'"
    ).fetchall()
    columns = connection.execute("PRAGMA table_xinfo(Cache)").fetchall()
    is_table = len(tables) == 1 and tables[0][0] == b"table" and tables[0][1] > 0
    if not is_table or any(column[-1] for column in columns):
        raise _unreadable("its database has no such table as that of diskcache")
    if not {column[1].decode(errors="replace") for column in columns} >= _COLUMNS:
        raise _unreadable("its table has other columns than that of diskcache")


def _expiry(value: object) -> float | None:
    """Return an expiry time. What is no number, as in a damaged row, is one that is over."""
    if value is None:
        return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _inflate(data: Any, limit: int) -> bytes:
    """Decompress what `JSONDisk` compressed, up to a number of bytes."""
    decompressor = zlib.decompressobj()
    try:
        inflated = decompressor.decompress(data, limit)
    except (zlib.error, TypeError):
        inflated = b""
    if not decompressor.eof:
        raise _corrupt(f"must be compressed JSON of at most {limit} bytes; it is not")
    return inflated


def _corrupt(what: str) -> CorruptEntry:
    return CorruptEntry(f"the value {what}")


def _unreadable(why: str) -> StoreUnavailable:
    return StoreUnavailable(f"the folder cannot be read: {why}")


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Add the key to errors, and let what a damaged value raises be a `CorruptEntry`."""
    try:
        yield
    except KvwrapError as error:
        error.key = key
        raise
    except (ValueError, TypeError):
        # Its text may have a part of the value.
        raise CorruptEntry("the value is not text or JSON in UTF-8", key=key) from None


@contextmanager
def _errors() -> Iterator[None]:
    """Let errors of SQLite and of the disk be `StoreUnavailable`."""
    try:
        yield
    except KvwrapError:
        raise
    except (sqlite3.Error, OSError, OverflowError, MemoryError) as error:
        raise _unreadable(f"{type(error).__name__}, which is the cause of this error") from error
