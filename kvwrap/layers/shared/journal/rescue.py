"""A damaged journal, replaced by a new one with everything that can be read."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from kvwrap.layers.shared.journal.database import (
    CANNOT_OPEN,
    DAMAGE,
    DAMAGED,
    open_database,
    unusable,
)

_Rows = list[tuple[object, ...]]

_PUT_PENDING = "REPLACE INTO pending VALUES (?, ?, ?, ?)"
_PUT_REFUSED = "REPLACE INTO refused VALUES (?, ?, ?, ?, ?)"


def replace_damaged(db: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Replace a damaged journal by a new one with everything that can be read from it.

    The damaged file is kept beside it, with `.damaged` added to its name. Its connection is
    closed.

    Raises:
        ConfigurationError: Nothing can be read from it, or it cannot be replaced.
    """
    try:
        pending, is_whole = _read("SELECT number, collection, key, entry FROM pending", db)
        if not pending and not is_whole:
            raise unusable(path, DAMAGED)
        refused, _ = _read("SELECT number, collection, key, entry, reason FROM refused", db)
    finally:
        db.close()
    new, log = _beside(path, ".new"), _beside(path, "-wal")
    try:
        for file in (path, log):
            with suppress(FileNotFoundError):
                shutil.copy2(file, _beside(file, ".damaged"))
        new.unlink(missing_ok=True)
        _write(new, pending, refused)
        # The log belongs to the damaged file.
        log.unlink(missing_ok=True)
        new.replace(path)
    except OSError as error:
        raise unusable(path, CANNOT_OPEN) from error
    return open_database(path)[0]


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _read(query: str, db: sqlite3.Connection) -> tuple[_Rows, bool]:
    """Return the rows that can be read from either end, and whether that is the whole table."""
    rows: dict[int, tuple[object, ...]] = {}
    for descending in (False, True):
        try:
            for row in _ordered(query, db, descending=descending):
                rows[row[0]] = row
        except DAMAGE:
            continue
        if not descending:
            return list(rows.values()), True
    return [rows[number] for number in sorted(rows)], False


def _ordered(
    query: str, db: sqlite3.Connection, *, descending: bool
) -> Iterator[tuple[int, *tuple[object, ...]]]:
    """Yield rows in the order of their numbers, which ends where pages refer back to others."""
    last = None
    with closing(db.execute(f"{query} ORDER BY number {'DESC' if descending else 'ASC'}")) as rows:
        for row in rows:
            if last is not None and (row[0] >= last if descending else row[0] <= last):
                raise sqlite3.DatabaseError("the rows are not in order")
            last = row[0]
            yield row


def _write(path: Path, pending: _Rows, refused: _Rows) -> None:
    # Numbers may be what is damaged: only their order is kept.
    rows = sorted([*pending, *refused], key=lambda row: row[0])  # type: ignore[arg-type,return-value]  # integers
    db, _ = open_database(path)
    try:
        db.execute("BEGIN IMMEDIATE")
        for number, (_, collection, key, entry, *reason) in enumerate(rows, 1):
            values = [number, _as_text(collection), _as_text(key), entry, *map(_as_text, reason)]
            db.execute(_PUT_REFUSED if reason else _PUT_PENDING, values)
        db.execute("COMMIT")
    finally:
        db.close()


def _as_text(value: object) -> object:
    """Return bytes as text if they are UTF-8, otherwise unchanged."""
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    return value
