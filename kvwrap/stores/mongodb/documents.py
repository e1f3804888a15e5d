"""Entries as documents, and the filters that find them.

A document has the name `collection:key` as its `_id`, the version, the expiry as a date, and either
the entry's bytes or, for a native one, its value as BSON with the time when it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from kvwrap.core import codec
from kvwrap.core.entry import Entry, dump_entries, expiry_ms, live, parse_entries
from kvwrap.core.optional import need
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.ranges import prefix_end
from kvwrap.core.reserved import RESERVED, RESERVED_END
from kvwrap.errors import CorruptEntry
from kvwrap.stores.shared.escaping import escape, unescape
from kvwrap.stores.shared.versions import to_signed

Document = Mapping[str, Any]
Filter = dict[str, Any]

_BYTES: Final = "entry"
_VALUE: Final = "value"
_VERSION: Final = "kvwrap_version"
EXPIRES: Final = "kvwrap_expires"
"""Field with the end of a document, which has an index."""
_CREATED: Final = "kvwrap_created"


def driver(module: str) -> Any:
    """Import a module of the driver's package, which has two top-level modules."""
    need("pymongo", extra="mongodb", wanted_by="MongoDBStore")
    return need(module, extra="mongodb", wanted_by="MongoDBStore")


class Documents:
    """Converts entries to documents and back.

    Args:
        store: Name of the store, for errors.
        native: True to keep values that no layer changed as BSON.
    """

    def __init__(self, store: str, *, native: bool) -> None:
        self._store = store
        self._native = native
        bson = driver("bson")
        self._int64 = bson.int64.Int64
        self._date = bson.datetime_ms.DatetimeMS
        self._encode = bson.encode

    @staticmethod
    def prefix(collection: Collection) -> str:
        """Return what the `_id` of the entries of a collection has in front of the key."""
        return f"{'' if collection is None else escape(collection)}:"

    @staticmethod
    def collection_of(document_id: str) -> Collection:
        """Return the collection of a document."""
        return unescape(document_id.partition(":")[0]) or None

    def documents(
        self,
        ids: Sequence[str],
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
    ) -> list[Document]:
        """Return the documents for entries."""
        documents: list[Document] = []
        stored = dump_entries(entries, collection, keys)
        for document_id, entry, data in zip(ids, entries, stored, strict=True):
            document = {"_id": document_id, _VERSION: self.version(entry.version)}
            expiry = expiry_ms(entry.expires_at)
            if expiry:
                document[EXPIRES] = self._date(expiry)
            value = self._native_value(entry) if self._native else None
            if value is None:
                document[_BYTES] = data
            else:
                document[_VALUE] = value[0]
                document[_CREATED] = self._date(round(entry.created_at * 1000))
            documents.append(document)
        return documents

    def _native_value(self, entry: Entry) -> tuple[Any] | None:
        """Return the value of an entry to keep as BSON; None if its bytes are kept."""
        if entry.codec != codec.JSON:
            return None
        value = orjson.loads(entry.body)
        return (value,) if self._is_kept(value, entry.body) else None

    def _is_kept(self, value: Any, text: bytes) -> bool:
        """Return True if BSON keeps a value as it is: it has no integers of more than 64 bits."""
        try:
            again = driver("bson").decode(self._encode({_VALUE: value}))[_VALUE]
            return bool(orjson.dumps(again) == text)
        except (OverflowError, ValueError, TypeError, driver("bson.errors").BSONError):
            return False

    def version(self, version: int) -> Any:
        """Return a version as MongoDB's 64-bit integer, which has a sign."""
        return self._int64(to_signed(version))

    def entries(
        self,
        documents: Sequence[Document | None],
        collection: Collection,
        keys: Sequence[str],
        now: float,
    ) -> list[Entry | None]:
        """Return the unexpired entries of documents, None for a missing document.

        Raises:
            CorruptEntry: A document is not one of this store.
        """
        # A document without bytes, and one with null in their place, is not a missing one.
        stored: list[Any] = [
            None if each is None else each if (data := each.get(_BYTES)) is None else data
            for each in documents
        ]
        if {bytes, type(None)}.issuperset(map(type, stored)):
            return parse_entries(stored, collection, keys, self._store, now)
        return [
            None if each is None else live(self._entry(each, collection, key), now)
            for each, key in zip(documents, keys, strict=True)
        ]

    def _entry(self, document: Document, collection: Collection, key: str) -> Entry:
        data = document.get(_BYTES)
        if isinstance(data, bytes):
            return Entry.from_bytes(data, collection, key, self._store)
        version, expires = document.get(_VERSION), document.get(EXPIRES)
        created = document.get(_CREATED)
        try:
            return Entry(
                orjson.dumps(document[_VALUE]),
                codec.JSON,
                int(created) / 1000,  # type: ignore[arg-type]
                None if expires is None else int(expires) / 1000,
                int(version) % (1 << 64),  # type: ignore[arg-type]
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CorruptEntry(
                "the document must be one that this store wrote; it has other fields: give the "
                "store a collection of MongoDB of its own",
                store=self._store,
                collection=collection,
                key=key,
            ) from error

    # -- filters -------------------------------------------------------------------------

    def live(self, now: float) -> Filter:
        """Return the filter of documents of this store that have not expired."""
        return {_VERSION: {"$exists": True}, **self._unexpired(now)}

    def _unexpired(self, now: float) -> Filter:
        return {"$or": [{EXPIRES: None}, {EXPIRES: {"$gt": self._date(int(now * 1000))}}]}

    def expired(self, now: float) -> Filter:
        """Return the filter of documents that have expired."""
        return {EXPIRES: {"$lte": self._date(int(now * 1000))}}

    def with_version(self, document_id: str, version: int, now: float) -> Filter:
        """Return the filter of an unexpired document that has this version."""
        return {"_id": document_id, _VERSION: self.version(version), **self._unexpired(now)}

    def same(self, document: Document, now: float) -> Filter:
        """Return the filter of a document of the same write."""
        return {"_id": document["_id"], _VERSION: document[_VERSION], **self._unexpired(now)}

    @staticmethod
    def between(first: str, end: str | None) -> Filter:
        """Return the filter of a range of `_id`."""
        bounds = {"$gte": first, **({} if end is None else {"$lt": end})}
        return {"_id": bounds}

    def in_range(self, collection: Collection, key_range: KeyRange) -> Filter:
        """Return the filter of the keys of a collection that are in a range."""
        prefix = self.prefix(collection)
        first = prefix + max(key_range.prefix, key_range.start or "")
        ends = [prefix_end(prefix + key_range.prefix)]
        if key_range.end is not None:
            ends.append(prefix + key_range.end)
        return self.between(first, min(end for end in ends if end is not None))

    def without_records(self, collection: Collection, key_range: KeyRange) -> Filter:
        """Return the same without the records of layers, whose keys begin with `kvwrap.`."""
        prefix = self.prefix(collection)
        records = self.between(prefix + RESERVED, prefix + RESERVED_END)["_id"]
        return {"$and": [self.in_range(collection, key_range), {"_id": {"$not": records}}]}
