"""Entries as documents of Elasticsearch or OpenSearch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, live, with_lasting_versions
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.ranges import count_by_listing, drop_by_removing
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.validation import checked_count, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError, KvwrapError, ValueTooLarge
from kvwrap.stores.elasticsearch import documents
from kvwrap.stores.elasticsearch.changes import Change, Removal, Write, settle
from kvwrap.stores.elasticsearch.clients import ClientOptions
from kvwrap.stores.elasticsearch.connections import SCHEMES, Servers
from kvwrap.stores.elasticsearch.deletions import delete_matching
from kvwrap.stores.elasticsearch.documents import Query
from kvwrap.stores.elasticsearch.index import Index
from kvwrap.stores.elasticsearch.requests import Refused
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.chunks import CHUNK_BYTES, parts
from kvwrap.stores.shared.client import Client, ClientStore
from kvwrap.stores.shared.tls import TLS_OPTIONS, make_tls

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch
    from opensearchpy import AsyncOpenSearch

_PORT: Final = 9200
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
_OPTIONS: Final = {
    "api_key": urls.TEXT,
    "timeout": urls.NUMBER_OR_NONE,
    "max_connections": urls.INTEGER,
    "default_collection": urls.TEXT,
    **TLS_OPTIONS,
}
_SMALL: Final = 1024 * 1024
"""Bytes of a batch that every server takes in one request."""
_MARGIN: Final = 4096
"""Bytes of a request beyond the documents and the lines about them, and of such a line."""
_AT_ONCE: Final = 1000
"""Collections that are listed in one round trip."""


class ElasticsearchStore(ClientStore):
    """Keeps entries as documents of Elasticsearch (8 or later) or OpenSearch (2 or later).

    The index `prefix-000001` is made under the alias `prefix`, for all collections: an index for
    each would soon reach the number of shards that a node takes. A batch of reads or writes is one
    request. Reads by key see every write that was acknowledged; listings refresh the index first.
    Conditional writes compare the sequence number that a document had when its version was read.
    Expired documents are never read, and `cull` frees them.

    For one event loop at a time; a forked child gets connections of its own.

    Args:
        url: `elasticsearch://user:password@host:port,host:port/prefix`, or `opensearch://`.
            Options: `api_key`, `timeout`, `max_connections`, `tls`, `ca`, `cert`, `key`.
        client: An `AsyncElasticsearch` or `AsyncOpenSearch` to use, instead of a URL; closing it is
            up to you. It is used in its own event loop only.
        index_prefix: What the name of the index begins with, if the URL has none: lower-case
            letters, digits, `.`, `_` and `-`.
        api_key: A key to log in with, instead of username and password.
        timeout: Seconds for one call, including the connection; None for no limit.
        max_connections: Maximum number of connections to a server, and of calls in progress.
        tls: True for TLS; likewise if one of the next three is given.
        ca: File with the certificates that the server's is checked against.
        cert: File with this client's certificate.
        key: File with its private key, if not in `cert`.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if it took more than `timeout` seconds. Writes in progress
            may or may not have been carried out.
        StoreFull: If the servers' disks are nearly full.
        StoreUnavailable: If no server can be reached, is ready, or takes the login.
        AccessDenied: If the login may not use the index.
        ValueTooLarge: For an entry over the servers' `http.max_content_length`, 100 MB as base64
            unless changed.
        InvalidKey: For a key or collection of more than 32,766 bytes.
    """

    capabilities = OPERATIONS | {Capability.PERSISTENT, Capability.SHARED}

    def __init__(
        self,
        url: str | None = None,
        *,
        client: AsyncElasticsearch | AsyncOpenSearch | None = None,
        index_prefix: str | None = None,
        api_key: str | None = None,
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
        server = "opensearch://localhost" if url is None else url
        place = urls.split_server_url(server, *SCHEMES, port=_PORT)
        if place.query:
            raise ConfigurationError(
                "the options of a URL are those of store_from_url; pass them to "
                "ElasticsearchStore as arguments"
            )
        prefix = checked_name(
            index_prefix if index_prefix is not None else place.path or "kvwrap", "index_prefix"
        )
        if not _PREFIX.fullmatch(prefix) or place.path not in ("", prefix):
            raise ConfigurationError(
                "`index_prefix` must have at most 200 lower-case letters, digits, ., _ and -, "
                f"begin with a letter or digit, and be given once; got {prefix!r}"
            )
        if api_key is not None:
            checked_name(api_key, "api_key")
            if client is not None or place.username is not None:
                raise ConfigurationError("`api_key` must not be given with a client or a username")
        if timeout is not None:
            checked_seconds(timeout, "timeout")
        limit = checked_count(max_connections, "max_connections")
        servers = Servers(
            place.scheme,
            ClientOptions(
                addresses=place.addresses,
                max_connections=limit,
                username=place.username,
                password=place.password,
                api_key=api_key,
                tls=make_tls(tls, ca, cert, key),
            ),
            client,
            alias=prefix,
            timeout=timeout,
        )
        self._location = f"index {prefix!r} of {servers.server}"
        self._client: Client[Index] = Client(
            servers,
            timeout=timeout,
            limit=limit,
            store=self.name,
            ensure_open=self.ready,
            is_own=client is None,
        )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of a URL as the constructor accepts it, with options.

        Raises:
            ConfigurationError: The URL is not one of Elasticsearch or OpenSearch, or an option is
                unknown or invalid.
        """
        server, _, query = url.partition("?")
        urls.check_fragment(url)
        return cls(server, **urls.parse_options(query, _OPTIONS))

    @property
    def location(self) -> str:
        return self._location

    # -- reading -------------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        ids = [documents.document_id(collection, key) for key in keys]
        found: list[Any] = []
        if len(ids) == 1:
            found = [await self._client.run(lambda index: index.get(ids[0]), collection=collection)]
        else:
            for part in parts(len(ids)):
                found += await self._client.run(
                    lambda index, own=ids[part]: index.get_many(own),  # type: ignore[misc]
                    collection=collection,
                )
        now = self.clock.time()
        return [
            None
            if source is None
            else live(documents.entry(source, collection, key, self.name), now)
            for source, key in zip(found, keys, strict=True)
        ]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        search = documents.keys_search(collection, key_range, self.clock.time(), PAGE_SIZE)
        if cursor is not None:
            search["search_after"] = [cursor]

        async def find(index: Index) -> Any:
            if cursor is None:
                await index.refresh()
            return await index.search(search)

        answer = await self._client.run(find, collection=collection)
        keys = [hit["sort"][0] for hit in answer["hits"]["hits"]]
        after = keys[-1] if len(keys) == PAGE_SIZE else None
        return Page([key for key in keys if key in key_range], after)

    async def list_collections(self) -> list[Collection]:
        found: list[Collection] = []
        after: object = None
        await self._client.run(Index.refresh)
        while True:
            search = documents.collections_search(self.clock.time(), after, _AT_ONCE)
            answer = await self._client.run(
                lambda index, own=search: index.search(own)  # type: ignore[misc]
            )
            names, after = documents.collections_of(answer)
            found += names
            if len(names) < _AT_ONCE:
                return found

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        if not documents.is_exact(key_range):
            return await count_by_listing(self, collection, key_range)
        query = documents.in_range(collection, key_range)
        return await self._count(query, without=(documents.RECORDS,))

    async def _count(self, query: Query, *, without: tuple[Query, ...] = ()) -> int:
        expired = documents.expired(self.clock.time())

        async def count(index: Index) -> int:
            await index.refresh()
            return await index.count(documents.all_of(query, without=(expired, *without)))

        return await self._client.run(count)

    # -- writing -------------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        # A condition compares the version in the document with the entry's own.
        entries = with_lasting_versions(entries)
        ids = [documents.document_id(collection, key) for key in keys]
        made = [
            documents.document(collection, key, entry)
            for key, entry in zip(keys, entries, strict=True)
        ]
        sizes = [len(document) + _MARGIN for document in made]
        most = CHUNK_BYTES
        if sum(sizes) > _SMALL:
            most = await self._client.run(Index.most_bytes)
            self._check_sizes(collection, keys, sizes, most)
        if expected is None and len(ids) == 1:
            await self._client.run(
                lambda index: index.put(ids[0], made[0]), collection=collection, key=keys[0]
            )
            return [True]
        now = self.clock.time() * 1000
        changes = [
            Write(each, document, entry.version, condition, now)
            for each, document, entry, condition in zip(
                ids, made, entries, expected or [None] * len(ids), strict=True
            )
        ]
        if expected is not None:
            return await self._settle(collection, keys, changes, sizes, min(most, CHUNK_BYTES))
        # Of a key that occurs several times, only the last entry is written.
        last = {key: position for position, key in enumerate(keys)}
        await self._settle(
            collection,
            list(last),
            [changes[position] for position in last.values()],
            [sizes[position] for position in last.values()],
            min(most, CHUNK_BYTES),
        )
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        now = self.clock.time() * 1000
        changes = [
            Removal(documents.document_id(collection, key), condition, now)
            for key, condition in zip(keys, expected or [None] * len(keys), strict=True)
        ]
        return await self._settle(collection, keys, changes)

    async def _settle(
        self,
        collection: Collection,
        keys: Sequence[str],
        changes: Sequence[Change],
        sizes: Sequence[int] | None = None,
        most: int = CHUNK_BYTES,
    ) -> list[bool]:
        """Carry out changes in parts. An error names the keys for which they were made."""
        results: dict[int, bool | Refused] = {}

        async def settle_part(index: Index, positions: Sequence[int]) -> None:
            await settle(index, changes, positions, results)
            for position in positions:
                result = results[position]
                if isinstance(result, Refused):
                    raise result

        try:
            for part in parts(len(keys), sizes, most_bytes=most):
                positions = range(len(keys))[part]
                await self._client.run(
                    partial(settle_part, positions=positions), collection=collection
                )
        except KvwrapError as error:
            if len(keys) == 1:
                error.key = keys[0]
            else:
                error.succeeded = tuple(
                    key for position, key in enumerate(keys) if results.get(position) is True
                )
            raise
        return [results[position] is True for position in range(len(keys))]

    def _check_sizes(
        self, collection: Collection, keys: Sequence[str], sizes: Sequence[int], most: int
    ) -> None:
        for key, size in zip(keys, sizes, strict=True):
            if size > most:
                raise ValueTooLarge(
                    f"an entry must fit into a request, {most} bytes as base64; got {size}. "
                    "Nothing was written: raise the servers' http.max_content_length, or store "
                    "smaller values",
                    store=self.name,
                    collection=collection,
                    key=key,
                )

    # -- deleting ------------------------------------------------------------------------

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        if not documents.is_exact(key_range):
            return await drop_by_removing(self, collection, key_range)
        query = documents.in_range(collection, key_range)
        return await self._drop(documents.all_of(query, without=(documents.RECORDS,)))

    async def drop(self, collection: Collection) -> bool:
        return await self._drop(documents.in_range(collection, KeyRange())) > 0

    async def drop_all(self) -> bool:
        had_entries = await self._count(documents.ANY) > 0

        async def delete(index: Index) -> bool:
            try:
                for name in await index.indices():
                    await index.delete_index(name)
            except Refused as refusal:
                if refusal.status != 403:
                    raise
                return False  # a login for documents only
            return True

        if not await self._client.run(delete):
            await self._drop(documents.ANY)
        return had_entries

    async def sweep(self) -> None:
        await self._drop(documents.all_of(documents.ANY, documents.expired(self.clock.time())))

    async def _drop(self, query: Query) -> int:
        """Delete documents. Returns how many of them had not expired."""
        return await delete_matching(self._client, query, self.clock.time())

    async def ping(self) -> None:
        await self._client.run(lambda index: index.get("-"))
