"""Entries as documents of MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, with_lasting_versions
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.ranges import prefix_end
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.validation import checked_count, checked_flag, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError, KvwrapError, ValueTooLarge
from kvwrap.stores.mongodb.connections import DUPLICATE_KEY, OWN_OPTIONS, MongoDB, Place, driver
from kvwrap.stores.mongodb.documents import Document, Documents, Filter
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.chunks import parts
from kvwrap.stores.shared.client import Client, ClientStore
from kvwrap.stores.shared.tls import make_tls

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient

_SCHEMES: Final = ("mongodb", "mongodb+srv")
_LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a document."""
_AT_ONCE: Final = 100
"""Operations on single documents that a batch has in progress, one on each connection."""
_MARGIN: Final = 16 * 1024
"""Bytes of a document beyond its value: names of up to 4,096 characters, and the other fields."""


class MongoDBStore(ClientStore):
    """Keeps entries as documents of MongoDB (4.2 or later).

    Each entry is a document whose `_id` is `collection:key`. Conditional writes are operations on
    one document, which MongoDB makes atomic. A batch of reads or unconditional writes is one
    command, and other batches are sent together. MongoDB frees expired documents about once a
    minute, by an index that the store makes. An expired entry is never read.

    For one event loop at a time; a forked child gets connections of its own.

    Args:
        url: `mongodb://user:password@host:port,host:port/database`, with options of the driver.
        client: A `pymongo.AsyncMongoClient` to use, instead of a URL; closing it is up to you. It
            is used in its own event loop only.
        database: Name of the database, if the URL has none.
        collection: Name of the collection of MongoDB that has the documents.
        native: True to keep values that no layer changed as BSON, for other programs to read and
            query. Integers of more than 64 bits are kept as bytes all the same.
        timeout: Seconds for one call, including the connection; None for no limit.
        max_connections: Maximum number of connections, and of calls in progress.
        tls: True for TLS, False for none. If left out, the next two and the URL decide: the scheme
            `mongodb+srv` has TLS.
        ca: File with the certificates that the server's is checked against.
        cert: File with this client's certificate and its private key.
        key: None, since the driver takes the private key from the file of `cert`.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if it took more than `timeout` seconds. Writes in progress
            may or may not have been carried out.
        StoreFull: If the server's disk is full.
        StoreUnavailable: If no server, or no primary of a replica set, can be reached.
        AccessDenied: If the user may not use the collection.
        ValueTooLarge: For an entry over 16 MiB.
    """

    capabilities = OPERATIONS | {Capability.NATIVE_TTL, Capability.PERSISTENT, Capability.SHARED}

    def __init__(
        self,
        url: str | None = None,
        *,
        client: AsyncMongoClient[Any] | None = None,
        database: str | None = None,
        collection: str = "kvwrap",
        native: bool = False,
        timeout: float | None = 5.0,
        max_connections: int = 100,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        if (url is None) == (client is None):
            raise ConfigurationError("either `url` or `client` must be given")
        named = "" if url is None else _database_of(url)
        if database is not None and named not in ("", database):
            raise ConfigurationError("the database must be given once; the URL has another one")
        if timeout is not None:
            checked_seconds(timeout, "timeout")
        database = checked_name(named or "kvwrap" if database is None else database, "database")
        collection = checked_name(collection, "collection")
        self._documents = Documents(self.name, native=checked_flag(native, "native"))
        server = MongoDB(
            url,
            client,
            database=database,
            collection=collection,
            max_connections=checked_count(max_connections, "max_connections"),
            timeout=timeout,
            tls=make_tls(tls, ca, cert, key) or tls,
        )
        self._location = f"{database}.{collection} of {server.server}"
        self._client: Client[Place] = Client(
            server,
            timeout=timeout,
            limit=max_connections,
            store=self.name,
            ensure_open=self.ready,
            is_own=client is None,
        )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of a URL as the constructor accepts it.

        Options besides the driver's: `collection`, `native`, `timeout`, `max_connections`, `tls`,
        `ca`, `cert`.

        Raises:
            ConfigurationError: The URL is not one of MongoDB, or an option is invalid.
        """
        server, _, query = url.partition("?")
        options, others = urls.take_options(query, OWN_OPTIONS)
        return cls(f"{server}?{others}" if others else server, **options)

    @property
    def location(self) -> str:
        return self._location

    # -- reading -------------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if not keys:
            return []
        ids = self._ids(collection, keys)
        found: dict[str, Document] = {}

        async def find(place: Place, part: Sequence[str]) -> None:
            if len(part) == 1:
                document = await place.documents.find_one({"_id": part[0]})
                if document is not None:
                    found[part[0]] = document
                return
            cursor = place.documents.find({"_id": {"$in": part}}, batch_size=len(part))
            async for document in cursor:
                found[document["_id"]] = document

        for part in parts(len(ids)):
            await self._client.run(partial(find, part=ids[part]), collection=collection)
        documents = list(map(found.get, ids))
        return self._documents.entries(documents, collection, keys, self.clock.time())

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        prefix = self._documents.prefix(collection)
        bounds = self._documents.in_range(collection, key_range)
        if isinstance(cursor, str):
            bounds = {"_id": {**bounds["_id"], "$gt": prefix + cursor}}
        ids = await self._find_ids(bounds, PAGE_SIZE)
        keys = [document_id[len(prefix) :] for document_id in ids]
        return Page(keys, keys[-1] if len(keys) == PAGE_SIZE else None)

    async def list_collections(self) -> list[Collection]:
        found: list[Collection] = []
        first = ""
        while ids := await self._find_ids(self._documents.between(first, None), 1):
            found.append(self._documents.collection_of(ids[0]))
            # The first `_id` behind all of this collection.
            first = prefix_end(f"{ids[0].partition(':')[0]}:") or ""
        return sorted(found, key=lambda name: name or "")

    async def _find_ids(self, bounds: Filter, most: int) -> list[str]:
        """Return the first of the names of unexpired documents in a range, in order."""
        query = {**bounds, **self._documents.live(self.clock.time())}

        async def find(place: Place) -> list[str]:
            cursor = place.documents.find(query, {"_id": 1}, sort=[("_id", 1)], limit=most)
            return [document["_id"] async for document in cursor]

        return await self._client.run(find)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        query = self._documents.without_records(collection, key_range)
        query["$and"].append(self._documents.live(self.clock.time()))
        return int(await self._client.run(lambda place: place.documents.count_documents(query)))

    # -- writing -------------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        ids = self._ids(collection, keys)
        # A condition compares the version in the document with the entry's own.
        entries = with_lasting_versions(entries)
        documents = self._documents.documents(ids, collection, keys, entries)
        for key, entry, document in zip(keys, entries, documents):
            self._check_size(collection, key, entry, document)
        if expected is None:
            await self._write_all(collection, keys, documents)
            return [True] * len(keys)

        async def write_one(place: Place, index: int) -> bool:
            return await self._write_if(place, ids[index], documents[index], expected[index])

        return await self._client.run_each(collection, keys, write_one, at_once=_AT_ONCE)

    async def _write_all(
        self, collection: Collection, keys: Sequence[str], documents: Sequence[Document]
    ) -> None:
        if len(keys) == 1:
            await self._client.run(
                lambda place: self._replace(place, {"_id": documents[0]["_id"]}, documents[0]),
                collection=collection,
                key=keys[0],
            )
            return
        pymongo, known = driver(), driver("pymongo.errors")
        left = {document["_id"]: document for document in documents}  # the last one of each

        async def write(place: Place, pending: Sequence[str]) -> None:
            while pending:
                operations = [
                    pymongo.ReplaceOne({"_id": each}, left[each], upsert=True) for each in pending
                ]
                refused: Any = None
                details: Mapping[str, Any] = {}
                try:
                    await place.documents.bulk_write(operations, ordered=False)
                except known.BulkWriteError as error:
                    refused, details = error, error.details
                failures = details.get("writeErrors", [])
                failed = [pending[failure["index"]] for failure in failures]
                if not details.get("writeConcernErrors"):
                    for each in set(pending).difference(failed):
                        del left[each]
                codes = {failure.get("code") for failure in failures}
                if refused is not None and codes != {DUPLICATE_KEY}:
                    raise refused
                pending = failed  # others inserted the same names meanwhile

        ids = list(left)
        try:
            for part in parts(len(ids)):
                await self._client.run(partial(write, pending=ids[part]), collection=collection)
        except KvwrapError as error:
            prefix = self._documents.prefix(collection)
            error.succeeded = tuple(key for key in keys if prefix + key not in left)
            raise

    async def _write_if(
        self, place: Place, document_id: str, document: Document, condition: Expected
    ) -> bool:
        now = self.clock.time()
        if condition is None:
            return await self._replace(place, {"_id": document_id}, document)
        if condition is ABSENT:
            query = {"_id": document_id, **self._documents.expired(now)}
            try:
                await place.documents.replace_one(query, document, upsert=True)
            except driver("pymongo.errors").DuplicateKeyError:
                return await self._is_stored(place, document, now)
            return True
        if not 0 <= condition < 1 << 64:  # no version
            return False
        query = self._documents.with_version(document_id, condition, now)
        result = await place.documents.replace_one(query, document)
        return result.matched_count == 1 or await self._is_stored(place, document, now)

    async def _replace(self, place: Place, query: Filter, document: Document) -> bool:
        while True:
            try:
                await place.documents.replace_one(query, document, upsert=True)
            except driver("pymongo.errors").DuplicateKeyError:
                continue  # another writer inserted it meanwhile
            return True

    async def _is_stored(self, place: Place, document: Document, now: float) -> bool:
        """Return True if a call whose answer was lost has stored this document already."""
        query = self._documents.same(document, now)
        return await place.documents.find_one(query, {"_id": 1}) is not None

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        ids = self._ids(collection, keys)
        now = self.clock.time()

        async def remove_one(place: Place, index: int) -> bool:
            condition = None if expected is None else expected[index]
            if condition is ABSENT or (condition is not None and not 0 <= condition < 1 << 64):
                return False
            query: Filter = {"_id": ids[index], **self._documents.live(now)}
            if condition is not None:
                query = self._documents.with_version(ids[index], condition, now)
            return bool((await place.documents.delete_one(query)).deleted_count)

        return await self._client.run_each(collection, keys, remove_one, at_once=_AT_ONCE)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._drop(self._documents.without_records(collection, key_range)["$and"])

    async def drop(self, collection: Collection) -> bool:
        return await self._drop([self._documents.in_range(collection, KeyRange())]) > 0

    async def drop_all(self) -> bool:
        return await self._drop([self._documents.between("", None)]) > 0

    async def _drop(self, conditions: Sequence[Filter]) -> int:
        """Delete documents. Returns how many of them had not expired."""
        now = self.clock.time()
        alive = {"$and": [*conditions, self._documents.live(now)]}
        over = {"$and": [*conditions, self._documents.expired(now)]}

        async def delete(place: Place) -> int:
            result = await place.documents.delete_many(alive)
            await place.documents.delete_many(over)
            return int(result.deleted_count)

        return await self._client.run(delete)

    async def sweep(self) -> None:
        query = self._documents.expired(self.clock.time())
        await self._client.run(lambda place: place.documents.delete_many(query))

    async def ping(self) -> None:
        await self._client.run(lambda place: place.client.admin.command("ping"))

    # -- names and sizes -----------------------------------------------------------------

    def _ids(self, collection: Collection, keys: Sequence[str]) -> list[str]:
        prefix = self._documents.prefix(collection)
        return [prefix + key for key in keys]

    def _check_size(
        self, collection: Collection, key: str, entry: Entry, document: Document
    ) -> None:
        if len(entry.body) < _LARGEST // 4:  # BSON takes less than four times as much as JSON
            return
        size = len(driver("bson").encode(document))
        if size > _LARGEST - _MARGIN:
            raise ValueTooLarge(
                f"an entry must fit into a document of MongoDB, {_LARGEST} bytes; got {size}. "
                "Nothing was written: store smaller values",
                store=self.name,
                collection=collection,
                key=key,
            )


def _database_of(url: object) -> str:
    """Return the database in a URL, or an empty text."""
    if not isinstance(url, str) or not url.startswith(tuple(f"{each}://" for each in _SCHEMES)):
        raise ConfigurationError("`url` must begin with mongodb:// or mongodb+srv://")
    urls.check_fragment(url)
    server, _, _ = url.partition("?")
    return unquote(server.partition("://")[2].partition("/")[2])
