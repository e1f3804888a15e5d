"""Entries in memcached: a shared cache, which forgets what it has no room for."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from kvwrap.core.capability import Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, dump_entries, parse_entries, with_lasting_versions
from kvwrap.core.paging import PAGE_SIZE, Snapshot, pages
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.randomness import new_version
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.validation import checked_count, checked_flag, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError, CorruptEntry, UnsupportedOperation
from kvwrap.stores.memcached import protocol
from kvwrap.stores.memcached.connections import Servers, checked_clients
from kvwrap.stores.memcached.names import LONGEST_NAMESPACE, Names
from kvwrap.stores.memcached.nodes import Cluster, Memcached
from kvwrap.stores.memcached.protocol import MISSING, STORED
from kvwrap.stores.memcached.round_trips import Command, RoundTrips
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.client import Client, ClientStore
from kvwrap.stores.shared.heads import Head
from kvwrap.stores.shared.tls import TLS_OPTIONS, make_tls

if TYPE_CHECKING:
    from aiomcache import FlagClient

_PORT: Final = 11211
_NAMESPACE: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{LONGEST_NAMESPACE}}}")
_OPTIONS: Final = {
    "namespace": urls.TEXT,
    "enumerate": urls.FLAG,
    "timeout": urls.NUMBER_OR_NONE,
    "max_connections": urls.INTEGER,
    "default_collection": urls.TEXT,
    **TLS_OPTIONS,
}


class MemcachedStore(ClientStore):
    """Keeps entries in memcached (1.6 or later), on one server or several.

    Memcached forgets entries when it has no room, and all of them when it is restarted: use it
    as a cache. Each key is on one of the servers. A batch is one round trip to each server that
    has keys of it, all at the same time. Conditional writes compare the number that the server
    gives each change (cas). The server frees expired entries by itself.

    `destroy` begins another generation of the namespace, which takes as long for a million
    entries as for one. Every call asks for the generation as well, in the same round trip.

    For one event loop at a time; a forked child gets connections of its own.

    Args:
        url: `memcached://username:password@host:port,host:port`. The login is that of
            memcached's text protocol (`-Y`). Without it, and without `client`, a server on this
            machine.
        client: An `aiomcache.Client` to use instead, or a list of them, one for each server. It
            brings its own connections, and is never closed.
        namespace: What the names in memcached begin with: letters, digits, `_`, `.` and `-`, at
            most 40 of them. Stores with different namespaces share servers.
        enumerate: True to list keys and collections. Memcached has no index, so that lists the
            names of everything that the servers hold, for one caller at a time.
        timeout: Seconds for one call, including the connection; None for no limit.
        max_connections: Maximum number of connections to each server; further calls wait.
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
        StoreFull: If a server that must not evict (`-M`) has no memory left.
        StoreUnavailable: If a server cannot be reached, or refuses the login.
        ValueTooLarge: For an entry over the server's item limit, 1 MB unless changed (`-I`).
    """

    capabilities = frozenset(
        {
            Capability.COMPARE_AND_PUT,
            Capability.DESTROY,
            Capability.NATIVE_TTL,
            Capability.SHARED,
        }
    )

    def __init__(
        self,
        url: str | None = None,
        *,
        client: FlagClient[Any] | Sequence[FlagClient[Any]] | None = None,
        namespace: str = "kvwrap",
        enumerate: bool = False,  # noqa: A002  # the public name
        timeout: float | None = 5.0,
        max_connections: int = 16,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        if _NAMESPACE.fullmatch(checked_name(namespace, "namespace")) is None:
            raise ConfigurationError(
                "`namespace` must consist of letters, digits, _, . and -, at most "
                f"{LONGEST_NAMESPACE} of them; got {namespace!r}"
            )
        if timeout is not None:
            checked_seconds(timeout, "timeout")
        self._namespace = namespace
        self._names = Names(namespace)
        if checked_flag(enumerate, "enumerate"):
            self.capabilities |= {
                Capability.KEYS,
                Capability.COLLECTIONS,
                Capability.DESTROY_COLLECTION,
            }
        if client is None:
            url = "memcached://localhost" if url is None else url
            driver = Memcached(_servers(url, tls, ca, cert, key))
        elif url is not None or not {tls, ca, cert, key} <= {None}:
            raise ConfigurationError(
                "a `client` brings its own connections, and must be given without `url`, `tls`, "
                "`ca`, `cert` and `key`; got one of them as well"
            )
        else:
            driver = Memcached(None, checked_clients(client))
        self._address = driver.server
        self._client: Client[Cluster] = Client(
            driver,
            timeout=timeout,
            limit=checked_count(max_connections, "max_connections"),
            store=self.name,
            ensure_open=self.ready,
            is_own=client is None,
        )
        self._server = RoundTrips(self._client, self._names, server=driver.server, store=self.name)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of a URL as the constructor accepts it, with options.

        Raises:
            ConfigurationError: The URL is not one of memcached, or an option is unknown or invalid.
        """
        server, _, query = url.partition("?")
        urls.check_fragment(url)
        return cls(server, **urls.parse_options(query, _OPTIONS))

    async def evicts(self) -> str | None:
        return "a full server evicts the entries that were not used for longest"

    @property
    def location(self) -> str:
        return f"namespace {self._namespace!r} of {self._address}"

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        suffixes = self._names.suffixes(collection, keys)
        (replies,) = await self._server.get(collection, keys, suffixes)
        stored = [reply.value for reply in replies]
        if self._names.are_hashed(suffixes):
            stored = [
                value if value is None else self._unpack(collection, key, suffix, value)
                for key, suffix, value in zip(keys, suffixes, stored, strict=True)
            ]
        return parse_entries(stored, collection, keys, self.name, self.clock.time())

    def _unpack(self, collection: Collection, key: str, suffix: str, value: bytes) -> bytes:
        try:
            return self._names.entry(suffix, value)
        except ValueError as error:
            raise CorruptEntry(
                "the stored bytes must have the whole name in front; they were altered",
                store=self.name,
                collection=collection,
                key=key,
            ) from error

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        # A condition compares the version in the header with the entry's own.
        entries = with_lasting_versions(entries)
        suffixes = self._names.suffixes(collection, keys)
        values = dump_entries(entries, collection, keys)
        if self._names.are_hashed(suffixes):
            values = [
                self._names.pack(suffix, collection, key, data)
                for suffix, key, data in zip(suffixes, keys, values, strict=True)
            ]
        moment = self.clock.time()
        seconds = [_lifetime(entry, moment) for entry in entries]
        now = moment * 1000

        def put(index: int, flags: bytes = b"") -> Command:
            value, lifetime = values[index], seconds[index]
            return lambda name: protocol.put(name, value, flags, lifetime, time.time())

        if expected is None:
            await self._server.ask(
                collection, keys, suffixes, lambda index, name: (put(index)(name),), writes=True
            )
            return [True] * len(keys)

        def decide(index: int, head: Head | None, cas: int) -> Command | None:
            condition = expected[index]
            if condition is None:
                return put(index)
            if head is None:
                return put(index, protocol.if_absent()) if condition is ABSENT else None
            if head.allows(condition, entries[index].version, now):
                return put(index, protocol.if_number(cas))
            return None

        return await self._server.change(collection, keys, suffixes, decide)

    def _now(self) -> float:
        """Return the time in Unix milliseconds."""
        return self.clock.time() * 1000

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        suffixes = self._names.suffixes(collection, keys)
        now = self._now()
        if expected is not None:

            def decide(index: int, head: Head | None, cas: int) -> Command | None:
                if head is None or not head.is_live(now):
                    return None
                if expected[index] not in (None, head.version):
                    return None
                return lambda name: protocol.delete(name, protocol.if_number(cas))

            return await self._server.change(collection, keys, suffixes, decide)
        replies = await self._server.ask(
            collection,
            keys,
            suffixes,
            lambda _, name: (protocol.get(name), protocol.delete(name)),
            writes=True,
            each=2,
            done=(STORED, MISSING),
        )
        return [
            deleted.status == STORED
            and (held.value is None or self._names.head(suffix, held.value).is_live(now))
            for suffix, held, deleted in zip(suffixes, *replies, strict=True)
        ]

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        touched = [False] * len(keys)
        pending = list(range(len(keys)))
        while pending:
            entries = await self.read(collection, [keys[index] for index in pending])
            found = [
                (index, entry)
                for index, entry in zip(pending, entries, strict=True)
                if entry is not None
            ]
            written = await self.write(
                collection,
                [keys[index] for index, _ in found],
                [entry.with_expiry(expires[index], new_version()) for index, entry in found],
                [entry.version for _, entry in found],
            )
            pending = []
            for (index, _), flag in zip(found, written, strict=True):
                touched[index] = flag
                if not flag:  # changed meanwhile
                    pending.append(index)
        return touched

    async def drop_all(self) -> bool:
        if Capability.KEYS not in self.capabilities:
            return await self._server.begin_another_generation()
        had_entries = len(await self.list_collections()) > 0
        await self._server.begin_another_generation()
        return had_entries

    async def ping(self) -> None:
        await self._server.ping()

    # -- enumeration -------------------------------------------------------------------

    async def _suffixes(self, prefix: str) -> list[str]:
        if Capability.KEYS not in self.capabilities:
            raise UnsupportedOperation(
                "memcached has no index of its keys: open the store with enumerate=True to list "
                "them by going through all that the servers hold",
                store=self.name,
            )
        return await self._server.list_suffixes(prefix)

    async def _named(self, suffixes: Sequence[str]) -> list[tuple[Collection, str]]:
        """Return collection and key of the entries under these names that have not expired."""
        (replies,) = await self._server.get(None, suffixes, suffixes)
        now = self._now()
        named: list[tuple[Collection, str]] = []
        for suffix, reply in zip(suffixes, replies, strict=True):
            if reply.value is None or not self._names.head(suffix, reply.value).is_live(now):
                continue
            with suppress(ValueError):  # damaged, so it has no key
                collection, key, _ = self._names.unpack(suffix, reply.value)
                if key:
                    named.append((collection, key))
        return named

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            cursor = Snapshot(await self._suffixes(self._names.prefix(collection)))
        page = Snapshot.page(cursor)
        named = await self._named(page.keys)
        keys = [key for name, key in named if name == collection and key in key_range]
        return Page(keys, page.cursor)

    async def list_collections(self) -> list[Collection]:
        by_token: dict[str, list[str]] = {}
        for suffix in await self._suffixes(""):
            by_token.setdefault(suffix.partition(":")[0], []).append(suffix)
        found: list[Collection] = []
        for own in by_token.values():
            for start in range(0, len(own), PAGE_SIZE):
                if named := await self._named(own[start : start + PAGE_SIZE]):
                    found.append(named[0][0])
                    break
        return found

    async def drop(self, collection: Collection) -> bool:
        had_entries = False
        async for page in pages(self, collection):
            if page.keys:
                had_entries = any(await self.remove(collection, page.keys)) or had_entries
        return had_entries


def _servers(
    url: str, tls: bool | None, ca: str | None, cert: str | None, key: str | None
) -> Servers:
    parts = urls.split_server_url(url, "memcached", port=_PORT)
    if parts.query or parts.path:
        raise ConfigurationError(
            "the URL of a MemcachedStore must have servers only; pass options as arguments, or "
            "the whole URL to store_from_url"
        )
    return Servers(
        addresses=parts.addresses,
        username=parts.username,
        password=parts.password,
        tls=make_tls(tls, ca, cert, key),
    )


def _lifetime(entry: Entry, now: float) -> int:
    """Return the lifetime of an entry on the server in seconds, and 0 for no end.

    It ends after that in the entry's header.
    """
    if entry.expires_at is None:
        return 0
    return max(1, math.ceil(min(entry.expires_at - now, 2**32)))
