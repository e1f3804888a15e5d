"""The SQL statements for a table of entries."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from kvwrap.core.primitives import KeyRange
from kvwrap.core.ranges import prefix_end
from kvwrap.core.reserved import RESERVED, RESERVED_END

_TABLE: Final = re.compile(r"(?!sqlite_)[a-z_][a-z0-9_]*", re.IGNORECASE)
_AFTER_ALL_TEXTS: Final = b""
"""A blob, which SQLite sorts after every text."""
SMALL: Final = 16 << 10
"""Bytes of entries up to which "read_small" returns them; it returns NULL for larger ones."""
_WANTED: Final = 'WITH "all keys" (name) AS (VALUES {marks})'
"""The keys to find: SQLite would first sort those of `key IN (...)`, which takes a fifth longer.

No table of a store can have a name with a space.
"""
_FOUND: Final = 'FROM "all keys" CROSS JOIN {t} ON collection = ? AND key = name'
_LIVE: Final = "(expires_at IS NULL OR expires_at > ?)"
_RANGE: Final = (
    "collection = ? AND key >= ? AND key < ? "
    f"AND NOT (key >= '{RESERVED}' AND key < '{RESERVED_END}')"
)
_SQL: Final = {
    # The default collection is stored as an empty string: names have at least one character.
    "table": "CREATE TABLE IF NOT EXISTS {t} (collection TEXT NOT NULL, key TEXT NOT NULL, "
    "expires_at INTEGER, version INTEGER NOT NULL, entry BLOB NOT NULL, "
    "PRIMARY KEY (collection, key))",
    "index": "CREATE INDEX IF NOT EXISTS {t}_expires_at ON {t} (expires_at) "
    "WHERE expires_at IS NOT NULL",
    "alike": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = '{t}' COLLATE NOCASE "
    "AND name <> '{t}'",
    "no_change": "DELETE FROM {t} WHERE 0",
    "probe": "SELECT collection, key, expires_at, version, entry FROM {t} LIMIT 0",
    # A view or a generated column, which only others can have made, makes rows of any length.
    "stored_columns": "SELECT name FROM pragma_table_xinfo('{t}') WHERE hidden = 0 AND EXISTS "
    "(SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{t}')",
    # CAST, since reading text that is not UTF-8 would fail.
    "read": "{wanted} SELECT key, CAST(entry AS BLOB) {found}",
    # SQLite knows the length of a blob without reading it.
    "read_small": "{wanted} SELECT key, iif(length(entry) > {small}, NULL, CAST(entry AS BLOB)) "
    "{found}",
    "have": "{wanted} SELECT key {found}",
    # 0 for no expiry, as `sqlite3` takes 0.4 us longer to bind None.
    "put": "INSERT INTO {t} (expires_at, version, entry, collection, key) "
    "VALUES (nullif(?, 0), ?, ?, ?, ?) "
    "ON CONFLICT (collection, key) DO UPDATE SET expires_at = excluded.expires_at, "
    "version = excluded.version, entry = excluded.entry",
    # A call whose answer was lost is repeated: then its entry is stored already, and it succeeds.
    "put_if_absent": "{put} WHERE expires_at <= ? OR version = excluded.version",
    "put_if_version": "UPDATE {t} SET expires_at = nullif(?, 0), version = ?, entry = ? "
    "WHERE collection = ? AND key = ? AND (version = ? AND {live} OR version = ?)",
    # Variables in RETURNING are NULL, so the caller compares the expiry with the time. CAST, since
    # other programs can write text there.
    "remove": "DELETE FROM {t} WHERE collection = ? AND key = ? "
    "RETURNING CAST(expires_at AS INTEGER)",
    "remove_if_version": "DELETE FROM {t} WHERE collection = ? AND key = ? AND version = ? "
    "RETURNING CAST(expires_at AS INTEGER)",
    # The upper bound of a range may be an empty blob, which comes after all texts.
    "keys": "SELECT key FROM {t} WHERE collection = ? AND key >= ? AND key < ? AND {live} "
    "ORDER BY key LIMIT ?",
    # Where a name is not UTF-8, which another program has written: reading text would fail.
    "key_blobs": "SELECT CAST(key AS BLOB) FROM {t} WHERE collection = ? AND key >= ? AND key < ? "
    "AND {live} ORDER BY key",
    "collection_blobs": "SELECT DISTINCT CAST(collection AS BLOB) FROM {t} "
    "WHERE {live} AND typeof(collection) = 'text' ORDER BY collection",
    # Jumps from one collection's name to the next, without reading all their keys. Blobs, which
    # no store of this class writes as names, come after all texts.
    "collections": 'WITH RECURSIVE "all names" (name) AS (SELECT min(collection) FROM {t} '
    'UNION ALL SELECT (SELECT min(collection) FROM {t} WHERE collection > name) FROM "all names" '
    "WHERE typeof(name) = 'text') SELECT name FROM \"all names\" "
    "WHERE typeof(name) = 'text' AND EXISTS (SELECT 1 FROM {t} WHERE collection = name AND {live})",
    "count_range": "SELECT count(*) FROM {t} WHERE {range} AND {live}",
    "drop_range": "DELETE FROM {t} WHERE {range}",
    "any_in": "SELECT EXISTS (SELECT 1 FROM {t} WHERE {live} AND collection = ?)",
    "drop": "DELETE FROM {t} WHERE collection = ?",
    "any": "SELECT EXISTS (SELECT 1 FROM {t} WHERE {live})",
    "drop_all": "DELETE FROM {t}",
    "sweep": "DELETE FROM {t} WHERE rowid IN (SELECT rowid FROM {t} WHERE expires_at <= ? "
    "ORDER BY expires_at LIMIT ?)",
}

_COUNTED: Final = "UPDATE {t}_weights SET entries = entries {sign} 1, bytes = bytes "
_NAME: Final = "CAST(ifnull(collection || '/' || key, '') AS BLOB)"
_EVICTION: Final = {
    "columns": "PRAGMA table_info({t})",
    "column": "ALTER TABLE {t} ADD COLUMN queue INTEGER NOT NULL DEFAULT 0",
    "index": "CREATE INDEX IF NOT EXISTS {t}_queue ON {t} (queue)",
    "weights": "CREATE TABLE IF NOT EXISTS {t}_weights (main INTEGER PRIMARY KEY, "
    "entries INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "have_weights": "SELECT count(*) FROM {t}_weights",
    "forget_weights": "DELETE FROM {t}_weights",
    "weigh": "INSERT INTO {t}_weights SELECT column1, count(entry), "
    "ifnull(sum(length(entry)), 0) FROM (VALUES (0), (1)) LEFT JOIN {t} ON column1 = (queue > 0) "
    "GROUP BY column1",
    "inserted": "CREATE TRIGGER IF NOT EXISTS {t}_inserted AFTER INSERT ON {t} BEGIN "
    "{more} length(new.entry) WHERE main = (new.queue > 0); END",
    "deleted": "CREATE TRIGGER IF NOT EXISTS {t}_deleted AFTER DELETE ON {t} BEGIN "
    "{less} length(old.entry) WHERE main = (old.queue > 0); END",
    "updated": "CREATE TRIGGER IF NOT EXISTS {t}_updated AFTER UPDATE OF entry, queue ON {t} BEGIN "
    "{less} length(old.entry) WHERE main = (old.queue > 0); "
    "{more} length(new.entry) WHERE main = (new.queue > 0); END",
    "read_weights": "SELECT entries, bytes FROM {t}_weights WHERE main IN (0, 1) AND entries >= 0 "
    "AND bytes >= 0 AND typeof(entries) = 'integer' AND typeof(bytes) = 'integer' ORDER BY main",
    "first_small": "SELECT rowid, {name}, ifnull(length(entry), 0) FROM {t} WHERE queue = 0 "
    "ORDER BY rowid LIMIT 1",
    "first_main": "SELECT rowid, {name}, ifnull(length(entry), 0) FROM {t} WHERE queue > 0 "
    "ORDER BY queue LIMIT 1",
    "to_main": "UPDATE {t} SET queue = (SELECT max(queue) FROM {t}) + 1 WHERE rowid = ?",
    "to_main_by_name": "UPDATE {t} SET queue = (SELECT max(queue) FROM {t}) + 1 "
    "WHERE collection = ? AND key = ?",
    "evict": "DELETE FROM {t} WHERE rowid = ?",
    "sweep": _SQL["sweep"],
}


def eviction_statements(table: str) -> dict[str, str]:
    """Return the statements that keep this table within limits, by name."""
    more, less = (f"{_COUNTED.format(t=table, sign=sign)}{sign}" for sign in "+-")
    return {
        name: text.format(t=table, more=more, less=less, name=_NAME)
        for name, text in _EVICTION.items()
    }


def statements(table: str) -> dict[str, str]:
    """Return the statements for this table, by name.

    Statements that find several keys still have the placeholder `{marks}` for the question marks.
    """
    names = {
        "t": table,
        "live": _LIVE,
        "range": _RANGE,
        "wanted": _WANTED,
        "found": _FOUND.format(t=table),
        "small": str(SMALL),
        "put": _SQL["put"].format(t=table),
    }
    return {name: text.format(**names) for name, text in _SQL.items()}


@lru_cache
def with_marks(statement: str, count: int) -> str:
    """Return a statement with as many marks for keys."""
    return statement.format(marks=", ".join(["(?)"] * count))


def bounds(key_range: KeyRange) -> tuple[str, str | bytes]:
    """Return the least text of a range, and what all texts of it are less than."""
    first = max(key_range.prefix, key_range.start or "")
    ends = [end for end in (key_range.end, prefix_end(key_range.prefix)) if end is not None]
    return first, min(ends) if ends else _AFTER_ALL_TEXTS


def is_table_name(name: object) -> bool:
    """Return True if a table can have this name without quotes."""
    return isinstance(name, str) and _TABLE.fullmatch(name) is not None
