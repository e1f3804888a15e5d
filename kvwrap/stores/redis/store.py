"""Entries in a Redis or Valkey server."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from kvwrap.core.capability import Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.core.store import Store
from kvwrap.core.ttl import TTL, expiry
from kvwrap.core.validation import checked_collection, checked_key
from kvwrap.errors import UnsupportedOperation
from kvwrap.stores.redis.cluster import ClusterServer
from kvwrap.stores.redis.connections import is_cluster, known_servers, location
from kvwrap.stores.redis.errors import require_driver
from kvwrap.stores.redis.forms import BY_SCRIPTS, make_form
from kvwrap.stores.redis.keys import as_text
from kvwrap.stores.redis.links import make_feed
from kvwrap.stores.redis.options import STORE_OPTIONS, RedisOptions, schemes
from kvwrap.stores.redis.scan import Scan
from kvwrap.stores.redis.scripts import (
    REMOVE,
    WRITE,
    lifetime_argument,
    version_argument,
)
from kvwrap.stores.redis.server import Server
from kvwrap.stores.shared import urls

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster


class RedisStore(Store):
    """Keeps entries in a Redis server (6.2 or later), a cluster, or a service of Sentinel.

    A batch is one round trip, in a cluster one to each node that has a key, all at the same time.
    Conditional writes are scripts with one key each. Redis removes expired entries automatically.
    Entries are stored under `namespace:collection:key`, and `destroy` deletes those of the
    namespace only. After the server was unavailable, it is used again as soon as it is back.

    With `raw=True` the keys are those of another program: `key` in the default collection,
    `collection:key` in the others. Its values are read in the format of the stack's serializer,
    and values that no layer has changed are written in that format. Values that layers have
    changed (compressed, encrypted) are written with kvwrap's header, and both kinds are read side
    by side. A key of another type than string raises `CorruptEntry`, and is never replaced.

    A call that is cancelled or fails has been carried out or not when the next call begins: a
    write that was given up never replaces a later one, if the account may use `CLIENT INFO` and
    `CLIENT KILL`. For one event loop at a time; a forked child gets connections of its own.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://…` for TLS, `unix:///path?db=…`,
            `redis+cluster://user:password@host:port,host:port` with some nodes of a cluster, or
            `redis+sentinel://user:password@host:port,host:port/service/db` with the Sentinels of a
            service.
        client: A `redis.asyncio.Redis` or `RedisCluster` whose connections are used, instead of a
            URL; closing it is up to you. It must not have `decode_responses`. Sentinel's
            `master_for` returns such a client too. It can be used in another event loop only after
            it was closed.
        host: Host of the server, instead of a URL.
        port: Its port; 6379 by default.
        db: Number of the database; may be combined with a URL, and so may the next two.
        username: Username of an account of the server.
        password: Password of that account; never shown.
        namespace: Prefix of this store's keys in Redis.
        raw: True if the data is another program's.
        timeout: Seconds for one round trip, including the wait for a connection; None for no
            limit.
        max_connections: Maximum number of connections in use, for each node of a cluster; further
            calls wait.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does: JSON, or with `raw` bytes
            unchanged.
        tls: True for TLS, which the next three, or `rediss://`, ask for as well.
        ca: File with the certificates that the server's is checked against; by default those that
            the system trusts.
        cert: File with the certificate that this client presents.
        key: File with its private key; by default it is in `cert`.
        sentinel_username: Username for the Sentinels, whose logins are their own.
        sentinel_password: Password for the Sentinels; never shown.

    Raises:
        StoreTimeout: From any method, if there was no answer within `timeout` seconds.
        StoreFull: If Redis has reached its `maxmemory` and evicts no keys.
        StoreUnavailable: If it cannot be reached or refuses a command. Writes in progress may or
            may not have been carried out.
        AccessDenied: For a key outside the account's ACL.
        ValueTooLarge: For a value over the server's `proto-max-bulk-len`, 512 MiB unless changed.
    """

    product: ClassVar[str] = "Redis"
    """Name of the server's program, for errors, and of the schemes of URLs."""

    capabilities = frozenset(
        {
            Capability.KEYS,
            Capability.COLLECTIONS,
            Capability.COMPARE_AND_PUT,
            Capability.DESTROY,
            Capability.DESTROY_COLLECTION,
            Capability.NATIVE_TTL,
            Capability.PERSISTENT,
            Capability.SHARED,
            Capability.WATCH,
        }
    )

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | RedisCluster | None = None,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        username: str | None = None,
        password: str | None = None,
        namespace: str = "kvwrap",
        raw: bool = False,
        timeout: float | None = 5.0,
        max_connections: int = 32,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer | None = None,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
    ) -> None:
        options = RedisOptions(
            product=self.product,
            url=url,
            client=client,
            host=host,
            port=port,
            db=db,
            username=username,
            password=password,
            namespace=namespace,
            raw=raw,
            timeout=timeout,
            max_connections=max_connections,
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
        )
        self._form = make_form(options)
        self._options = options
        chosen = self._form.serializer if serializer is None else serializer
        # These write integers as Redis does.
        self._has_counters = raw and (chosen is JSON or isinstance(chosen, BytesSerializer))
        super().__init__(clock=clock, serializer=chosen, default_collection=default_collection)
        require_driver(self.product)
        cls = ClusterServer if is_cluster(options) else Server
        self._server = cls(options, store=self.name, ensure_open=self.ready)
        self._feed = make_feed(options, self.clock, store=self.name)
        self.capabilities -= self._form.unsupported
        if options.raw:
            self.traits = self.traits | {"raw"}  # type: ignore[misc]  # of this instance

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of a URL as the constructor accepts it.

        Options besides the driver's own: `namespace`, `raw`, `timeout`, `max_connections`.

        Raises:
            ConfigurationError: The URL is not one of Redis, or an option is unknown or invalid.
        """
        server, _, query = url.partition("?")
        urls.check_scheme(url, *schemes(cls.product))
        options, others = urls.take_options(query, STORE_OPTIONS)
        return cls(f"{server}?{others}" if others else server, **options)

    @property
    def location(self) -> str:
        return location(self._options)

    @property
    def servers(self) -> Sequence[tuple[str, int | None]]:
        return known_servers(self._options)

    @property
    def idle(self) -> bool:
        """True while no round trip is in progress or waits for its turn."""
        return super().idle and self._server.idle

    async def evicts(self) -> str | None:
        """Return why a server evicts keys; an account that may not ask gets `None`."""
        policy = await self._server.eviction_policy()
        return None if policy is None else f"keys are evicted (maxmemory-policy {policy})"

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        self._server.open()

    async def teardown(self) -> None:
        await self._feed.close()
        await self._server.close()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if not keys:
            return []
        names = self._names(collection, keys)
        values = await self._server.run_in_chunks(
            collection, keys, lambda chunk: self._form.read(self._server, names[chunk])
        )
        now = self.clock.time()
        return self._form.decode(values, collection, keys, now, self.name)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        names = self._names(collection, keys)
        values = self._form.encode(entries, collection, keys)
        sizes = [len(value) for value in values]
        await self._server.check_sizes(collection, keys, sizes)
        now = self.clock.time()
        lifetimes = [lifetime_argument(entry.expires_at, now) for entry in entries]
        if expected is None and self._form.is_shared:
            expected = [None] * len(names)  # the script leaves keys alone that are not strings
        if expected is not None:
            versions = [version_argument(version) for version in expected]
            time = repr(now * 1000)
            calls = [
                (1, name, version, time, lifetime, value, self._form.salt(collection, key))
                for key, name, version, lifetime, value in zip(
                    keys, names, versions, lifetimes, values, strict=True
                )
            ]
            answers = await self._server.run_in_chunks(
                collection, keys, lambda chunk: self._server.run_script(WRITE, calls[chunk]), sizes
            )
            return [answer == 1 for answer in answers]
        if len(names) > 1 and not any(lifetimes) and not self._server.splits:
            pairs = list(zip(names, values, strict=True))
            await self._server.run_in_chunks(
                collection, keys, lambda chunk: self._server.set_all(pairs[chunk]), sizes
            )
        else:
            commands = [
                ("DEL", name)
                if lifetime == "0"
                else ("SET", name, value, *(("PX", lifetime) if lifetime else ()))
                for name, value, lifetime in zip(names, values, lifetimes, strict=True)
            ]
            await self._server.run_in_chunks(
                collection,
                keys,
                lambda chunk: self._server.run_each(names[chunk], commands[chunk]),
                sizes,
            )
        return [True] * len(names)

    async def increment(
        self,
        key: str,
        delta: int = 1,
        *,
        collection: str | None = None,
        initial: int = 0,
        ttl: TTL | None = None,
    ) -> int:
        """Add `delta` to the integer under the key, atomically. Returns the sum.

        As for every store. With `raw`, a counter of another program is incremented by `INCRBY`, so
        that many programs can count at the same time. If its answer is lost, `StoreUnavailable`
        is raised, and the counter may have been incremented.
        """
        if self._has_counters and type(delta) is type(initial) is int:
            now = self.clock.time()
            place, key = checked_collection(collection), checked_key(key)
            (name,) = self._names(place, (key,))
            arguments = delta, initial + delta, lifetime_argument(expiry(now, ttl), now)
            sum_ = await self._server.add(place, key, name, arguments)
            if sum_ is not None:
                return sum_
        return await super().increment(key, delta, collection=collection, initial=initial, ttl=ttl)

    def _names(self, collection: Collection, keys: Sequence[str]) -> list[str]:
        prefix = self._form.names.prefix(collection)
        return [prefix + key for key in keys]

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        time = repr(self.clock.time() * 1000)
        calls = [
            (1, name, version_argument(version), time, self._form.salt(collection, key))
            for key, name, version in zip(
                keys, self._names(collection, keys), expected or repeat(None)
            )
        ]
        answers = await self._server.run_in_chunks(
            collection, keys, lambda chunk: self._server.run_script(REMOVE, calls[chunk])
        )
        return [answer == 1 for answer in answers]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        position = cursor if isinstance(cursor, Scan) else Scan()
        if position.page is not None:
            return position.page
        prefix = self._form.names.prefix(collection)
        scan = position.copy()
        keys = []
        for name in await self._step(scan, prefix + key_range.prefix, "list"):
            # SCAN may return a name several times, and names that are not text.
            if name not in scan.seen:
                scan.seen.add(name)
                key = as_text(name)[len(prefix) :]
                if key and key in key_range:
                    keys.append(key)
        position.page = Page(keys, None if scan.is_complete else scan)
        return position.page

    async def list_collections(self) -> list[Collection]:
        self._check_supported("list_collections")
        names = self._form.names
        scan, collections = Scan(), set[Collection]()
        while not scan.is_complete:
            for name in await self._step(scan, names.root, "list"):
                if ":" in (text := as_text(name)[len(names.root) :]):
                    collections.add(names.collection_of(text))
        return sorted(collections, key=lambda name: name or "")

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._step_through(collection, key_range, "count")

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        if key_range.prefix == "":
            self._check_supported("drop", collection)
        return await self._step_through(collection, key_range, "drop")

    async def _step_through(
        self, collection: Collection, key_range: KeyRange, mode: Literal["count", "drop"]
    ) -> int:
        prefix, scan = self._form.names.prefix(collection), Scan()
        while not scan.is_complete and key_range.end != "":
            await scan.step_through(self._server, prefix, key_range, mode, now=self.clock.time())
        return scan.count

    async def drop(self, collection: Collection) -> bool:
        self._check_supported("drop", collection)
        return await self._drop(self._form.names.prefix(collection))

    async def drop_all(self) -> bool:
        self._check_supported("drop_all")
        return await self._drop(self._form.names.root)

    async def _drop(self, prefix: str) -> bool:
        scan = Scan()
        while not scan.is_complete:
            await self._step(scan, prefix, "drop")
        return scan.count > 0

    async def _step(self, scan: Scan, prefix: str, mode: Literal["list", "drop"]) -> Any:
        return await scan.step(self._server, prefix, mode, now=self.clock.time())

    def _check_supported(self, primitive: str, collection: Collection = None) -> None:
        refusal = self._form.refusal(primitive, collection)
        if refusal is not None:
            raise self._unsupported(refusal)

    async def ping(self) -> None:
        rights = await self._server.ping()
        missing = self._form.unsupported
        missing |= frozenset() if rights.scripts else BY_SCRIPTS
        missing |= frozenset() if rights.watch else {Capability.WATCH}
        self.capabilities = type(self).capabilities - missing

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        await self.ready()
        try:
            return await self._feed.subscribe(scope, listener)
        except UnsupportedOperation:
            self.capabilities -= {Capability.WATCH}
            raise
