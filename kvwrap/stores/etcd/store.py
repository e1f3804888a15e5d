"""Entries as keys of etcd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, dump_entries, live, with_lasting_versions
from kvwrap.core.paging import PAGE_SIZE, holds_any
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.validation import checked_count, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError
from kvwrap.stores.etcd.cluster import Cluster
from kvwrap.stores.etcd.connections import Etcd, EtcdOptions, is_compacted
from kvwrap.stores.etcd.protocol import driver, messages
from kvwrap.stores.etcd.requests import Fields, end_of
from kvwrap.stores.etcd.transactions import Batch, Transactions
from kvwrap.stores.etcd.watching import EtcdLink
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.client import Client, ClientStore
from kvwrap.stores.shared.escaping import KeyNames
from kvwrap.stores.shared.feed import Feed
from kvwrap.stores.shared.heads import Head
from kvwrap.stores.shared.tls import TLS_OPTIONS, make_tls

if TYPE_CHECKING:
    from grpclib.client import Channel

_PORT: Final = 2379
_OPTIONS: Final = {
    "timeout": urls.NUMBER_OR_NONE,
    "max_concurrency": urls.INTEGER,
    "default_collection": urls.TEXT,
    **TLS_OPTIONS,
}


class _Position(NamedTuple):
    """The cursor of a listing.

    Attributes:
        start: Where the next page begins.
        revision: The revision of etcd that is listed.
    """

    start: bytes
    revision: int


class EtcdStore(ClientStore):
    """Keeps entries as keys of etcd (3.4 or later).

    Each entry is a key `prefix:collection:key`. Conditional writes are transactions that compare
    the revision of the key. A batch is one transaction, or as few as etcd's limits allow: 128
    operations and 1.5 MiB. Reads are linearizable: they see every write that was acknowledged.
    etcd frees expired entries by leases, which entries with nearby ends share. An expired entry is
    never read.

    For one event loop at a time; a forked child gets a connection of its own.

    Args:
        url: `etcd://user:password@host:port,host:port/prefix`. Options: `timeout`,
            `max_concurrency`, `default_collection`, `tls`, `ca`, `cert`, `key`.
        client: A `grpclib.client.Channel` to use, instead of a URL; closing it is up to you. It is
            used in its own event loop only.
        prefix: What the keys begin with, if the URL has none.
        timeout: Seconds for one request, including the connection; None for no limit.
        max_concurrency: Maximum number of requests in progress; further ones wait.
        tls: True for TLS; likewise if one of the next three is given.
        ca: File with the certificates that the server's is checked against.
        cert: File with this client's certificate.
        key: File with its private key, if not in `cert`.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if a request took more than `timeout` seconds. Writes in
            progress may or may not have been carried out.
        StoreFull: If etcd has reached its quota of space.
        StoreUnavailable: If no server can be reached, there is no leader, or the login is refused.
        AccessDenied: If the user may not use keys with the prefix.
        ValueTooLarge: For an entry over the limit of a request, 1.5 MiB unless changed.
    """

    capabilities = OPERATIONS | {
        *(Capability.WATCH, Capability.NATIVE_TTL, Capability.PERSISTENT, Capability.SHARED)
    }

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Channel | None = None,
        prefix: str | None = None,
        timeout: float | None = 5.0,
        max_concurrency: int = 256,
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
        messages()
        if client is not None and not isinstance(client, driver("grpclib.client").Channel):
            raise ConfigurationError(
                f"`client` must be a grpclib.client.Channel; got {type(client).__name__}"
            )
        of_url = urls.split_server_url("etcd://" if url is None else url, "etcd", port=_PORT)
        if of_url.query:
            raise ConfigurationError(
                "the options of a URL are those of store_from_url; pass them to EtcdStore as "
                "arguments"
            )
        if prefix is not None and of_url.path not in ("", prefix):
            raise ConfigurationError("`prefix` must be given once; the URL has another one")
        prefix = checked_name(of_url.path or "kvwrap" if prefix is None else prefix, "prefix")
        if timeout is not None:
            checked_seconds(timeout, "timeout")
        options = EtcdOptions(
            addresses=of_url.addresses,
            # The name of an empty key in no collection.
            fence=KeyNames(prefix).root.encode(),
            timeout=timeout,
            username=of_url.username,
            password=of_url.password,
            tls=make_tls(tls, ca, cert, key),
        )
        server = Etcd(options, client)
        self._location = f"prefix {prefix!r} of {server.server}"
        self._names = KeyNames(prefix)
        self._root = self._names.root.encode()
        self._client: Client[Cluster] = Client(
            server,
            timeout=timeout,
            limit=checked_count(max_concurrency, "max_concurrency"),
            store=self.name,
            ensure_open=self.ready,
            is_own=client is None,
        )
        self._transactions = Transactions(self._client)
        place = (self._location, of_url.username, of_url.password, tls, ca, cert, key, id(client))
        link = partial(EtcdLink, etcd=server, names=self._names)
        self._feed = Feed(place, link, self.clock, timeout=timeout, owner=self.name)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of a URL as the constructor accepts it, with options.

        Raises:
            ConfigurationError: The URL is not one of etcd, or an option is unknown or invalid.
        """
        server, _, query = url.partition("?")
        urls.check_fragment(url)
        return cls(server, **urls.parse_options(query, _OPTIONS))

    @property
    def location(self) -> str:
        return self._location

    # -- reading -------------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        found = await self._transactions.read(self._batch(collection, keys))
        now, store = self.clock.time(), self.name
        return [
            None if kv is None else live(Entry.from_bytes(kv.value, collection, key, store), now)
            for key, kv in zip(keys, found, strict=True)
        ]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        prefix = self._prefix(collection)
        start = prefix + max(key_range.prefix, key_range.start or "").encode()
        end = end_of(prefix + key_range.prefix.encode())
        if key_range.end is not None:
            end = min(end, prefix + key_range.end.encode())
        names, position = await self._page(start, end, cursor)
        expired = set(await self._expired(names))
        keys = [_text(name[len(prefix) :]) for name in names if name not in expired]
        return Page([key for key in keys if key], position)

    async def _page(
        self, start: bytes, end: bytes, cursor: object
    ) -> tuple[list[bytes], _Position | None]:
        """Return the first names of a range, and where the next page begins."""
        revision = 0
        if isinstance(cursor, _Position):
            start, revision = cursor
        if start >= end:
            return [], None

        async def look(cluster: Cluster) -> Any:
            request = {"key": start, "range_end": end, "limit": PAGE_SIZE, "keys_only": True}
            try:
                return await cluster.read("Range", {**request, "revision": revision})
            except driver().GRPCError as error:
                if not is_compacted(error):
                    raise
                return await cluster.read("Range", request)  # goes on with what is there now

        answer = await self._client.run(look)
        names = [kv.key for kv in answer.kvs]
        if not answer.more:
            return names, None
        return names, _Position(names[-1] + b"\0", revision or answer.header.revision)

    async def _expired(self, names: Sequence[bytes]) -> list[bytes]:
        """Return those of some names whose entry has expired, which only one with a lease can."""
        now = self.clock.time() * 1000
        return [
            kv.key
            for kv in await self._transactions.with_lease(names)
            if not Head.of(kv.value).is_live(now)
        ]

    async def list_collections(self) -> list[Collection]:
        found: list[Collection] = []
        start, end = self._root, end_of(self._root)
        while True:
            request = {"key": start, "range_end": end, "limit": 1, "keys_only": True}
            answer = await self._client.run(partial(_look, request))
            if not answer.kvs:
                return sorted(found, key=lambda name: name or "")
            name = answer.kvs[0].key
            collection = self._names.collection_of(_text(name[len(self._root) :]))
            prefix = self._prefix(collection)
            if not name.startswith(prefix):  # of another program
                start = name + b"\0"
                continue
            if await holds_any(self, collection):
                found.append(collection)
            start = end_of(prefix)

    # -- writing -------------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        # A condition compares the version in the header with the entry's own.
        entries = with_lasting_versions(entries)
        if expected is None:
            return await self._write_all(collection, keys, entries)
        batch = self._batch(collection, keys, entries)

        def judge(index: int, kv: Any) -> bool | None:
            condition, own = expected[index], entries[index].version
            if condition is None:
                return None
            if kv is None:
                return None if condition is ABSENT else False
            head, now = Head.of(kv.value), self.clock.time() * 1000
            if not head.allows(condition, own, now):
                return False
            # A call whose answer was lost is repeated: then its entry is stored already.
            return True if head.version == own != condition and head.is_live(now) else None

        make = partial(self._puts, batch, entries)
        looks = [condition is not ABSENT for condition in expected]
        return await self._transactions.change(batch, looks, judge, make)

    async def _write_all(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
    ) -> list[bool]:
        last = dict(zip(keys, entries, strict=True))  # the last one of each key
        unique = list(last.values())
        batch = self._batch(collection, list(last), unique)
        await self._transactions.send(batch, partial(self._puts, batch, unique))
        return [True] * len(keys)

    async def _puts(
        self, batch: Batch, entries: Sequence[Entry], cluster: Cluster, indices: Sequence[int]
    ) -> list[Fields]:
        names, values = batch.names, batch.values or ()
        puts: list[dict[str, Any]] = [
            {"key": names[index], "value": values[index]} for index in indices
        ]
        now = self.clock.time()
        for index, put in zip(indices, puts):
            expires_at = entries[index].expires_at
            if expires_at is not None:
                put["lease"] = await cluster.leases.get(expires_at - now)
        return [{"request_put": put} for put in puts]

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        batch = self._batch(collection, keys)
        if expected is not None:

            def is_meant(index: int, head: Head) -> bool:
                condition = expected[index]
                return condition is not ABSENT and condition in (None, head.version)

            return await self._remove_if(batch, is_meant)

        make = partial(_deletions, batch, returned=True)
        answers = await self._transactions.send(batch, make)
        now = self.clock.time() * 1000
        return [
            any(Head.of(kv.value).is_live(now) for kv in each.response_delete_range.prev_kvs)
            for each in answers
        ]

    async def _remove_if(
        self, batch: Batch, is_meant: Callable[[int, Head], bool], *, expired: bool = False
    ) -> list[bool]:
        """Delete those entries that are meant and have not expired, or those that have."""

        def judge(index: int, kv: Any) -> bool | None:
            if kv is None:
                return False
            head = Head.of(kv.value)
            is_alive = head.is_live(self.clock.time() * 1000)
            return None if is_alive != expired and is_meant(index, head) else False

        looks = [True] * len(batch.names)
        return await self._transactions.change(batch, looks, judge, partial(_deletions, batch))

    async def drop(self, collection: Collection) -> bool:
        had_entries = await holds_any(self, collection)
        await self._delete(self._prefix(collection), end_of(self._prefix(collection)))
        return had_entries

    async def drop_all(self) -> bool:
        had_entries = len(await self.list_collections()) > 0
        await self._delete(self._root + b"\0", end_of(self._root))  # without the fence
        return had_entries

    async def _delete(self, start: bytes, end: bytes) -> None:
        operation = {"request_delete_range": {"key": start, "range_end": end}}
        await self._client.run(lambda cluster: cluster.commit([operation]))

    async def sweep(self) -> None:
        position: _Position | None = _Position(self._root, 0)
        while position is not None:
            names, position = await self._page(self._root, end_of(self._root), position)
            expired = await self._expired(names)
            await self._remove_if(Batch(expired), lambda index, head: True, expired=True)

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        await self.ready()
        return await self._feed.subscribe(scope, listener)

    async def teardown(self) -> None:
        await self._feed.close()
        await super().teardown()

    async def ping(self) -> None:
        await self._client.run(partial(_look, {"key": self._root, "keys_only": True}))

    # -- names ---------------------------------------------------------------------------

    def _prefix(self, collection: Collection) -> bytes:
        return self._names.prefix(collection).encode()

    def _batch(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry] | None = None
    ) -> Batch:
        prefix = self._prefix(collection)
        values = None if entries is None else dump_entries(entries, collection, keys)
        return Batch([prefix + key.encode() for key in keys], values, keys, collection)


async def _look(request: Fields, cluster: Cluster) -> Any:
    return await cluster.read("Range", request)


async def _deletions(
    batch: Batch, cluster: Cluster, indices: Sequence[int], *, returned: bool = False
) -> list[Fields]:
    names = batch.names
    return [
        {"request_delete_range": {"key": names[index], "prev_kv": returned}} for index in indices
    ]


def _text(name: bytes) -> str:
    """Return a name as text, or an empty text if it is not UTF-8."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""
