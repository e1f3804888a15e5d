"""The SQL statements for a table of entries."""

from __future__ import annotations

import re
from typing import Final

from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.reserved import RESERVED, RESERVED_END

COLUMNS: Final = {
    "collection": "bytea",
    "whole_collection": "bytea",
    "key": "bytea",
    "digest": "bytea",
    "rest": "bytea",
    "expires_at": "bigint",
    "version": "bigint",
    "entry": "bytea",
}
"""The columns of the table and their types."""

RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""The rights on the table that the store can use."""

COUNTED: Final = 100_000
"""Maximum number of rows that one statement counts."""

DROPPED: Final = 5_000
"""Maximum number of rows that one statement drops or sweeps."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,51}")
"""The name of the index is that of the table and 11 characters, at most 63."""

_LIVE: Final = "(expires_at IS NULL OR expires_at > ${now})"
_RANGE: Final = (
    "collection = $1 AND key >= $2 AND (key, rest) >= ($2, $3) "
    "AND key <= $4 AND (key, rest) < ($4, $5)"
)
_RESERVED: Final = f"(key >= '{RESERVED}'::bytea AND key < '{RESERVED_END}'::bytea)"
_EDGE: Final = (
    "edge AS MATERIALIZED (SELECT key FROM {t} WHERE {range} AND key > $2 "
    "ORDER BY key OFFSET {rows} LIMIT 1)"
)
_BEFORE_EDGE: Final = "key < COALESCE((SELECT key FROM edge), '\\xff'::bytea)"
_ID: Final = "key || digest"
"""What identifies a key in its collection: no digest follows a key that is not divided."""

# Of a batch without long keys, digests and rests are NULL instead of arrays of nothing, and so are
# the ends of entries without one.
_SQL: Final = {
    "table": "CREATE TABLE IF NOT EXISTS {t} ("
    "collection bytea NOT NULL, whole_collection bytea, "
    "key bytea NOT NULL, digest bytea NOT NULL, rest bytea NOT NULL, "
    "expires_at bigint, version bigint NOT NULL, entry bytea NOT NULL, "
    "PRIMARY KEY (collection, key, digest))",
    "index": "CREATE INDEX IF NOT EXISTS {index} ON {t} (expires_at) WHERE expires_at IS NOT NULL",
    # Processes that start at once create the table one after the other. The lock ends with the
    # transaction, which is that of the whole text.
    "create": "SELECT pg_advisory_xact_lock(hashtext('kvwrap'), hashtext('{channel}')); "
    "{table}; {make_index}",
    "types": "SELECT $1::bytea, $2::bigint, 'a'::text, true",
    "columns": "SELECT attname::text, format_type(atttypid, NULL), "
    "{rights} FROM pg_attribute WHERE attrelid = to_regclass('{t}') AND attnum > 0 "
    "AND NOT attisdropped",
    "may_create": "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace "
    "WHERE nspname = {schema}",
    "ping": "SELECT 1",
    "read": "SELECT entry FROM {t} WHERE collection = $1 AND key = $2 AND digest = $3",
    "read_many": "SELECT key, entry FROM {t} "
    "WHERE collection = $1 AND key = ANY($2::bytea[]) AND digest = ''",
    "read_long_many": "SELECT {id}, entry FROM {t} "
    "WHERE collection = $1 AND key = ANY($2::bytea[])",
    "put": "{insert} VALUES ($1, $7, $2, $3, $8, $4, $5, $6) {update}",
    "put_many": "{insert} {new_rows} {update}",
    # A call whose answer was lost is repeated: then its entry is stored already, and it succeeds.
    "put_if_absent": "{insert} VALUES ($1, $7, $2, $3, $8, $4, $5, $6) {update} {if_absent}",
    "put_if_absent_many": "{insert} {new_rows} {update} {if_absent}",
    "put_if_version": "UPDATE {t} SET expires_at = $4, version = $5, entry = $6 "
    "WHERE collection = $1 AND key = $2 AND digest = $3 AND (version = $8 AND {live7} "
    "OR version = $5 AND $5 IS DISTINCT FROM $8) RETURNING {id}",
    "put_if_version_many": "UPDATE {t} AS stored SET expires_at = given.expires_at, "
    "version = given.version, entry = given.entry "
    "FROM unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[], $8::bigint[]) "
    "AS given (key, digest, expires_at, version, entry, expected) "
    "WHERE stored.collection = $1 AND stored.key = given.key "
    "AND stored.digest = COALESCE(given.digest, '') "
    "AND (stored.version = given.expected "
    "AND (stored.expires_at IS NULL OR stored.expires_at > $7) "
    "OR stored.version = given.version AND given.version IS DISTINCT FROM given.expected) "
    "RETURNING stored.key || stored.digest",
    "remove": "DELETE FROM {t} WHERE collection = $1 AND key = $2 AND digest = $3 "
    "RETURNING {id}, {live4}",
    "remove_many": "DELETE FROM {t} AS stored USING unnest($2::bytea[], $3::bytea[]) "
    "AS gone (key, digest) WHERE collection = $1 AND stored.key = gone.key "
    "AND stored.digest = COALESCE(gone.digest, '') RETURNING stored.key || stored.digest, {live4}",
    "remove_if_version": "DELETE FROM {t} WHERE collection = $1 AND key = $2 AND digest = $3 "
    "AND version = $5 RETURNING {id}, {live4}",
    "remove_if_version_many": "DELETE FROM {t} AS stored USING "
    "unnest($2::bytea[], $3::bytea[], $5::bigint[]) AS gone (key, digest, version) "
    "WHERE collection = $1 AND stored.key = gone.key AND stored.digest = COALESCE(gone.digest, '') "
    "AND stored.version = gone.version RETURNING stored.key || stored.digest, {live4}",
    "keys": "SELECT key || rest FROM {t} WHERE {range} AND {live6} ORDER BY key, rest LIMIT {page}",
    # Jumps from one collection to the next, without reading all their keys.
    "collections": "WITH RECURSIVE names AS ((SELECT collection FROM {t} ORDER BY collection "
    "LIMIT 1) UNION ALL SELECT (SELECT {t}.collection FROM {t} "
    "WHERE {t}.collection > names.collection ORDER BY {t}.collection LIMIT 1) FROM names "
    "WHERE names.collection IS NOT NULL) SELECT names.collection, (SELECT whole_collection "
    "FROM {t} WHERE {t}.collection = names.collection LIMIT 1) FROM names "
    "WHERE names.collection IS NOT NULL AND EXISTS (SELECT 1 FROM {t} "
    "WHERE {t}.collection = names.collection AND {live1})",
    # Both go on from an edge, a key with a number of others before it, so that no statement takes
    # longer than the timeout, however many rows there are.
    "count_range": "WITH {counted_edge} SELECT (SELECT key FROM edge), (SELECT count(*) FROM {t} "
    "WHERE {range} AND {before_edge} AND {live6} AND NOT {reserved})",
    "drop_range": "WITH {dropped_edge}, gone AS (DELETE FROM {t} WHERE {range} AND {before_edge} "
    "AND NOT {reserved} RETURNING expires_at) SELECT (SELECT key FROM edge), "
    "(SELECT count(*) FROM gone WHERE {live6})",
    "drop": "WITH {dropped_edge}, gone AS (DELETE FROM {t} WHERE {range} AND {before_edge} "
    "RETURNING expires_at) SELECT (SELECT key FROM edge), "
    "(SELECT count(*) FROM gone WHERE {live6})",
    "drop_all": "WITH edge AS MATERIALIZED (SELECT collection, key FROM {t} "
    "WHERE (collection, key) > ($1, $2) ORDER BY collection, key "
    "OFFSET {dropped} LIMIT 1), gone AS (DELETE FROM {t} WHERE (collection, key) >= ($1, $2) "
    "AND (collection, key) < (COALESCE((SELECT collection FROM edge), '\\xff'::bytea), "
    "COALESCE((SELECT key FROM edge), ''::bytea)) RETURNING expires_at) "
    "SELECT (SELECT collection FROM edge), (SELECT key FROM edge), "
    "(SELECT count(*) FROM gone WHERE {live3})",
    "sweep": "WITH gone AS (DELETE FROM {t} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {t} "
    "WHERE expires_at <= $1 ORDER BY expires_at LIMIT {dropped})) AND expires_at <= $1 "
    "RETURNING 1) SELECT count(*) FROM gone",
}

_CHANGES: Final = {
    **dict.fromkeys(("put", "put_many"), 9),
    **dict.fromkeys(("put_if_absent", "put_if_absent_many"), 10),
    **dict.fromkeys(("put_if_version", "put_if_version_many"), 9),
    **dict.fromkeys(("remove", "remove_many"), 5),
    **dict.fromkeys(("remove_if_version", "remove_if_version_many"), 6),
}
"""The statements that change keys, with the number of the first free parameter."""


_DROPS: Final = {"drop_range": 7, "drop": 7, "drop_all": 4}
"""The statements that delete whole ranges, likewise."""


def statements(table: str, *, notify: bool) -> dict[str, str]:
    """Return the statements for this table, by name.

    Args:
        table: A name for which `is_table_name` is true.
        notify: Whether statements that change keys take one more argument, the payload that the
            server sends to those who listen, once for each statement that changes something.
    """
    schema, _, name = table.rpartition(".")
    quoted = f'"{schema}"."{name}"' if schema else f'"{name}"'
    names = {
        "t": quoted,
        "schema": f"'{schema}'" if schema else "current_schema()",
        "index": f'"{name}_expires_at"',
        "channel": channel(table),
        "id": _ID,
        "rights": ", ".join(f"has_table_privilege(attrelid, '{right}')" for right in RIGHTS),
        "page": str(PAGE_SIZE),
        "dropped": str(DROPPED),
        "range": _RANGE,
        "reserved": _RESERVED,
        "before_edge": _BEFORE_EDGE,
        **{f"live{number}": _LIVE.replace("{now}", str(number)) for number in (1, 3, 4, 6, 7)},
        "insert": f"INSERT INTO {quoted} AS stored "
        "(collection, whole_collection, key, digest, rest, expires_at, version, entry)",
        "new_rows": "SELECT $1, $7, key, COALESCE(digest, ''), COALESCE(rest, ''), "
        "expires_at, version, entry FROM "
        "unnest($2::bytea[], $3::bytea[], $8::bytea[], $4::bigint[], $5::bigint[], $6::bytea[]) "
        "AS given (key, digest, rest, expires_at, version, entry)",
        "update": "ON CONFLICT (collection, key, digest) DO UPDATE SET "
        "expires_at = excluded.expires_at, version = excluded.version, entry = excluded.entry",
        "if_absent": "WHERE stored.expires_at <= $9 OR stored.version = excluded.version "
        "RETURNING stored.key || stored.digest",
    }
    for prefix, rows in (("counted", COUNTED), ("dropped", DROPPED)):
        names[f"{prefix}_edge"] = _EDGE.format(t=quoted, range=_RANGE, rows=rows)
    names["table"] = _SQL["table"].format(**names)
    names["make_index"] = _SQL["index"].format(**names)
    made = {name: text.format(**names) for name, text in _SQL.items()}
    if notify:
        for name, parameter in _CHANGES.items():
            returning = "," if "RETURNING" in made[name] else " RETURNING"
            made[name] += f"{returning} pg_notify('{channel(table)}', ${parameter})"
        for name, parameter in _DROPS.items():
            made[name] += f", pg_notify('{channel(table)}', ${parameter})"
    return made


def channel(table: str) -> str:
    """Return the name of the channel to listen to for changes of a table."""
    return table.rpartition(".")[2]


def is_table_name(name: object) -> bool:
    """Return True if a table can have this name, with a schema in front or not."""
    if not isinstance(name, str):
        return False
    parts = name.split(".")
    return len(parts) <= 2 and all(map(_NAME.fullmatch, parts))
