"""Entries as documents, the mapping of their index, and the queries that find them.

A document has collection and key as keywords, the version, the expiry, and the entry's bytes as
base64. Its `_id` is `collection:key`, hashed where that is too long.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson

from kvwrap.core.entry import Entry, expiry_ms
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.ranges import prefix_end
from kvwrap.core.reserved import RESERVED, RESERVED_END
from kvwrap.errors import CorruptEntry, InvalidKey
from kvwrap.stores.shared.escaping import escape
from kvwrap.stores.shared.heads import Head
from kvwrap.stores.shared.names import NameEncoding

Query = dict[str, Any]

_COLLECTION: Final = "collection"
_KEY: Final = "key"
_VERSION: Final = "version"
_EXPIRES: Final = "expires"
_ENTRY: Final = "entry"

_LONGEST_BOUND: Final = 512
"""Bytes of a bound of a range. The servers refuse those beyond about 1,000."""
LONGEST_NAME: Final = 32_766
"""Maximum number of bytes of a keyword."""
_IDS: Final = NameEncoding(None, limit=512, escape="~")

PROPERTIES: Final[Mapping[str, Any]] = {
    _COLLECTION: {"type": "keyword"},
    _KEY: {"type": "keyword"},
    _EXPIRES: {"type": "long"},
    _VERSION: {"type": "keyword", "index": False, "doc_values": False},
    _ENTRY: {"type": "binary"},
}
"""The fields of a document, as a mapping describes them."""

HEAD: Final = f"{_VERSION},{_EXPIRES}"
"""The fields that `head` needs, as a parameter of a request."""


def name_of(collection: Collection) -> str:
    """Return a collection's name in documents. That of the default collection is empty."""
    return collection or ""


def document_id(collection: Collection, key: str) -> str:
    """Return the `_id` of the document of a key.

    Raises:
        InvalidKey: The key or the collection is longer than a keyword may be.
    """
    for name, kind in ((key, "key"), (name_of(collection), "collection")):
        if len(name) * 4 > LONGEST_NAME and len(name.encode()) > LONGEST_NAME:
            raise InvalidKey(
                f"a {kind} must have at most {LONGEST_NAME} bytes in UTF-8, the maximum of a "
                f"keyword; got {len(name.encode())}: use HashedKey, or shorter names"
            )
    return _IDS.encode(f"{escape(name_of(collection))}:{key}")


def document(collection: Collection, key: str, entry: Entry) -> bytes:
    """Return the document for an entry, as JSON in one line."""
    data = binascii.b2a_base64(entry.to_bytes(collection, key), newline=False)
    expiry = expiry_ms(entry.expires_at)
    return b'{"%b":%b,"%b":%b,"%b":"%016x",%b"%b":"%b"}' % (
        *(_COLLECTION.encode(), orjson.dumps(name_of(collection))),
        *(_KEY.encode(), orjson.dumps(key)),
        *(_VERSION.encode(), entry.version),
        b'"%b":%d,' % (_EXPIRES.encode(), expiry) if expiry else b"",
        *(_ENTRY.encode(), data),
    )


def entry(source: object, collection: Collection, key: str, store: str) -> Entry:
    """Return the entry of a document.

    Raises:
        CorruptEntry: The document is not one of this store.
    """
    try:
        data = binascii.a2b_base64(source[_ENTRY], strict_mode=True)  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptEntry(
            "the document must be one that this store wrote; it has other fields: give the store "
            "an index of its own",
            store=store,
            collection=collection,
            key=key,
        ) from error
    return Entry.from_bytes(data, collection, key, store)


def head(source: object) -> Head:
    """Return version and expiry of a document. Those of another program have no version."""
    try:
        version = int(source[_VERSION], 16)  # type: ignore[index]
        return Head(version, int(source.get(_EXPIRES, 0)))  # type: ignore[attr-defined]
    except (KeyError, TypeError, ValueError):
        return Head()


def is_live(hit: Mapping[str, Any], now: float) -> bool:
    """Return True if a document that `deletion_search` found has not expired."""
    expires = hit.get("fields", {}).get(_EXPIRES)
    return not expires or expires[0] > now * 1000


# -- queries ---------------------------------------------------------------------------


def all_of(*conditions: Query, without: tuple[Query, ...] = ()) -> Query:
    """Return the query of documents that match all conditions, and none of those `without`."""
    return {"bool": {"filter": list(conditions), "must_not": list(without)}}


def expired(now: float) -> Query:
    """Return the query of documents that have expired."""
    return {"range": {_EXPIRES: {"lte": int(now * 1000)}}}


ANY: Final[Query] = {"exists": {"field": _KEY}}
"""The query of all documents of the store."""


def in_range(collection: Collection, key_range: KeyRange) -> Query:
    """Return the query of the keys of a collection that are in a range.

    With a long bound it finds further ones; see `is_exact`.
    """
    first, end = _bounds(key_range)
    bounds = {"gte": _beginning(first)}
    if end is not None and _beginning(end) != end:
        end = prefix_end(_beginning(end))
    if end is not None:
        bounds["lt"] = end
    return all_of(
        {"term": {_COLLECTION: name_of(collection)}},
        {"range": {_KEY: bounds}},
    )


def is_exact(key_range: KeyRange) -> bool:
    """Return True if `in_range` finds no keys but those in a range."""
    return all(each is None or _beginning(each) == each for each in _bounds(key_range))


def _bounds(key_range: KeyRange) -> tuple[str, str | None]:
    """Return the first key that may be in a range, and the end; None for no end."""
    ends = [end for end in (prefix_end(key_range.prefix), key_range.end) if end is not None]
    return max(key_range.prefix, key_range.start or ""), min(ends, default=None)


def _beginning(bound: str) -> str:
    """Return a bound, or the beginning of one that is too long for the servers."""
    if len(bound) * 4 <= _LONGEST_BOUND:
        return bound
    return bound.encode()[:_LONGEST_BOUND].decode(errors="ignore")


RECORDS: Final[Query] = {"range": {_KEY: {"gte": RESERVED, "lt": RESERVED_END}}}
"""The query of the records of layers, whose keys begin with `kvwrap.`."""


def keys_search(collection: Collection, key_range: KeyRange, now: float, size: int) -> Query:
    """Return the search for keys that have not expired, in order."""
    return {
        "query": all_of(in_range(collection, key_range), without=(expired(now),)),
        "sort": [{_KEY: "asc"}],
        "_source": False,
        "track_total_hits": False,
        "size": size,
    }


def deletion_search(query: Query, size: int) -> Query:
    """Return the search for documents to delete, with what that needs."""
    return {
        "query": query,
        "sort": [{_COLLECTION: "asc"}, {_KEY: "asc"}],
        "_source": False,
        "docvalue_fields": [_EXPIRES],
        "seq_no_primary_term": True,
        "track_total_hits": False,
        "size": size,
    }


def collections_search(now: float, after: object, size: int) -> Query:
    """Return the search for the collections that have unexpired entries, as an aggregation."""
    composite: Query = {"size": size, "sources": [{_COLLECTION: {"terms": {"field": _COLLECTION}}}]}
    if after is not None:
        composite["after"] = after
    return {
        "query": all_of(without=(expired(now),)),
        "size": 0,
        "track_total_hits": False,
        "aggs": {_COLLECTION: {"composite": composite}},
    }


def collections_of(answer: Mapping[str, Any]) -> tuple[list[Collection], object]:
    """Return the collections that `collections_search` found, and where to go on."""
    if "aggregations" not in answer:  # there is no index
        return [], None
    found = answer["aggregations"][_COLLECTION]
    names = [bucket["key"][_COLLECTION] or None for bucket in found["buckets"]]
    return names, found.get("after_key")
