"""Entries in a table of a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Self

from kvwrap.core.capability import OPERATIONS, Capabilities, Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, parse_entries
from kvwrap.core.paging import EVERY_KEY, PAGE_SIZE
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError, StoreUnavailable, UnsupportedOperation
from kvwrap.stores.postgresql.batches import (
    EVERYTHING,
    make_rows,
    one_row,
    payload,
    plan,
    removals,
    remove_arguments,
    write_arguments,
)
from kvwrap.stores.postgresql.changes import Changes
from kvwrap.stores.postgresql.connections import known_servers, location
from kvwrap.stores.postgresql.links import make_feed
from kvwrap.stores.postgresql.names import (
    bounds,
    decode_collection,
    divide,
    encode_collection,
    split,
)
from kvwrap.stores.postgresql.options import SCHEME, URL_OPTIONS, PostgreSQLOptions
from kvwrap.stores.postgresql.server import Server
from kvwrap.stores.postgresql.statements import DROPPED
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.chunks import parts

_NEEDED: Final = {
    "SELECT": OPERATIONS,
    "INSERT": frozenset({Capability.COMPARE_AND_PUT}),
    "UPDATE": frozenset({Capability.COMPARE_AND_PUT}),
    "DELETE": frozenset({Capability.DESTROY, Capability.DESTROY_COLLECTION, Capability.CULL}),
}
"""The capabilities that need a right on the table."""


class PostgreSQLStore(Store):
    """Keeps entries in a table of a PostgreSQL server (14 or later).

    A batch is one statement, and is written whole or not at all: up to 1,000 keys and 64 MB are
    one round trip. The store creates the table; many processes may start at once. Names are
    stored as bytes, so keys are in order and may contain NUL. Expired entries are never returned.
    Writes delete some of them now and then, and `cull` deletes all. After the server was
    unavailable, it is used again as soon as it is back.

    A call that is cancelled or fails has been carried out or not when the next call begins: a
    write that was given up never replaces a later one. For one event loop at a time; a forked
    child gets connections of its own.

    Args:
        url: `postgresql://user:password@host:port/database`, with several `host:port` separated by
            commas if there are standbys.
        client: A pool of asyncpg, which is used instead of a URL; closing it is up to you. Create
            it with `statement_cache_size=0` if pgbouncer is between.
        table: Name of the table, `schema.name` or a name in the search path.
        timeout: Seconds for one round trip, including the wait for a connection; None for no
            limit.
        max_connections: Maximum number of connections in use; further calls wait.
        notify: True to send the names of changed keys to the channel of the table's name, and to
            listen to it while somebody watches. Every store that writes must have it.
        prepared: True to prepare each statement once for a connection, False for a pooler that
            gives a connection to one client after the other; None to find out.
        target: The servers to use, of several: "primary", which is the default for several
            servers, "read-write", "any", "standby", "prefer-standby", "read-only".
        tls: True for TLS, which `ca` or `cert` imply.
        ca: File with the certificates to check the server's against.
        cert: File with the certificate of this client.
        key: File with its private key.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if there was no answer within `timeout` seconds.
        StoreFull: If the server's disk is full.
        StoreUnavailable: If it cannot be reached, refuses the login, has no free connection, or
            is read-only.
        AccessDenied: If the user may not do this with the table.
        ConfigurationError: If the table has other columns, or may not be created.
        ValueTooLarge: For an entry of 1 GB.
    """

    capabilities: Capabilities = OPERATIONS | {
        *(Capability.PERSISTENT, Capability.SHARED, Capability.WATCH)
    }

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Any = None,
        table: str = "kvwrap",
        timeout: float | None = 5.0,
        max_connections: int = 10,
        notify: bool = False,
        prepared: bool | None = None,
        target: str | None = None,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        self._options = PostgreSQLOptions(
            url=url,
            client=client,
            table=table,
            timeout=timeout,
            max_connections=max_connections,
            notify=notify,
            prepared=prepared,
            target=target,
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
        )
        self._server = Server(
            self._options, store=self.name, ensure_open=self.ready, learn=self._learn
        )
        self._feed = make_feed(self._options, self.clock, store=self.name)
        self._tells = notify
        self._learn(frozenset(_NEEDED))
        self._writing = Changes(self._server, notify=notify)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `postgresql://user:password@host:port,host:port/database?options`.

        The options are the arguments `table`, `timeout`, `max_connections`, `notify`, `prepared`,
        `target`, `tls`, `ca`, `cert` and `key`.

        Raises:
            ConfigurationError: The URL is not one of PostgreSQL, or an option is unknown or
                invalid.
        """
        server = urls.split_server_url(url, SCHEME, port=0)
        options = urls.parse_options(server.query, URL_OPTIONS)
        return cls(url.partition("?")[0], **options)

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

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        self._server.open(creates=self.creates)
        try:
            await self._server.prepare()
        except StoreUnavailable:
            pass  # the first call looks for the table again, and raises if the server is still away
        except BaseException:
            await self._server.close()
            raise

    async def teardown(self) -> None:
        await self._feed.close()
        await self._server.close()

    def _learn(self, rights: frozenset[str]) -> None:
        """Adapt the capabilities to the rights that the user has on the table."""
        missing = [_NEEDED[right] for right in _NEEDED if right not in rights]
        if not self._tells:
            missing.append(frozenset({Capability.WATCH}))
        self.capabilities = type(self).capabilities.difference(*missing)

    # -- the primitives on keys --------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        name, _ = encode_collection(collection)
        heads, digests, _, ids = divide(keys)
        found: dict[bytes, bytes] = {}
        try:
            if len(keys) == 1:
                for (data,) in await self._server.run("read", name, heads[0], digests[0]):
                    found[ids[0]] = data
            else:
                statement = "read_many" if ids is heads else "read_long_many"
                for part in parts(len(keys)):
                    found.update(await self._server.run(statement, name, heads[part]))
        except KvwrapError as error:
            error.collection, error.key = collection, keys[0] if len(keys) == 1 else None
            raise
        return parse_entries(map(found.get, ids), collection, keys, self.name, self.clock.time())

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Write entries, each only if there is what is expected. Returns which were written.

        An entry that is stored already, with the same version, counts as written.
        """
        if Capability.CULL in self.capabilities:
            await self._writing.sweep_some(len(keys), self._now)
        if len(keys) == 1 and expected is None:
            row = one_row(entries[0], collection, keys[0])
            if row is not None:
                await self._writing.run("put", collection, keys, row)
                return [True]
        rows = make_rows(entries, collection, keys, store=self.name)
        written = [True] * len(keys)
        answers = await self._writing.run_steps(
            "put",
            collection,
            keys,
            plan(keys, expected),
            lambda step: write_arguments(step, collection, rows, expected, self._now()),
            list(map(len, rows.entries)),
        )
        for (condition, indexes), found in answers:
            if condition:
                ids = {row[0] for row in found}
                for index in indexes:
                    written[index] = rows.keys.ids[index] in ids
        return written

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        divided = divide(keys)
        answers = await self._writing.run_steps(
            "remove",
            collection,
            keys,
            removals(keys, expected),
            lambda step: remove_arguments(step, collection, divided, expected, self._now()),
        )
        removed = [False] * len(keys)
        for (_, indexes), found in answers:
            were_live = {row[0]: row[1] for row in found}
            for index in indexes:
                removed[index] = were_live.get(divided.ids[index], False)
        return removed

    def _now(self) -> int:
        """Return the time in Unix milliseconds, the unit of the column `expires_at`."""
        return int(self.clock.time() * 1000)

    # -- the other primitives ----------------------------------------------------------

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        name, _ = encode_collection(collection)
        head, rest, last_head, last_rest = bounds(key_range)
        if isinstance(cursor, bytes):
            # The first possible key of the page, right after the last one of the previous page.
            head, rest = split(cursor)
        rows = await self._server.run("keys", name, head, rest, last_head, last_rest, self._now())
        keys = []
        for (data,) in rows:
            with suppress(UnicodeDecodeError):  # a name that no store of this class writes
                keys.append(data.decode())
        return Page(keys, rows[-1][0] + b"\0" if len(rows) == PAGE_SIZE else None)

    async def list_collections(self) -> list[Collection]:
        collections = []
        for encoded, whole in await self._server.run("collections", self._now()):
            with suppress(ValueError):
                collections.append(decode_collection(encoded, whole))
        return collections

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._step_through("count_range", collection, key_range, writes=False)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._step_through("drop_range", collection, key_range, writes=True)

    async def drop(self, collection: Collection) -> bool:
        return await self._step_through("drop", collection, EVERY_KEY, writes=True) > 0

    async def _step_through(
        self, statement: str, collection: Collection, key_range: KeyRange, *, writes: bool
    ) -> int:
        """Count or delete the entries in a range. Returns the number of those that were live."""
        name, _ = encode_collection(collection)
        head, rest, *last = bounds(key_range)
        notice = [payload(collection, None)] if writes and self._options.notify else []
        total: int = 0
        while True:
            ((edge, count, *_),) = await self._server.run(
                statement, name, head, rest, *last, self._now(), *notice, writes=writes
            )
            total += count
            if edge is None:
                return total
            head, rest = edge, b""

    async def drop_all(self) -> bool:
        notice = [EVERYTHING] if self._options.notify else []
        collection = key = b""
        dropped: int = 0
        while True:
            ((next_collection, next_key, count, *_),) = await self._server.run(
                "drop_all", collection, key, self._now(), *notice, writes=True
            )
            dropped += count
            if next_collection is None:
                return dropped > 0
            collection, key = next_collection, next_key

    async def sweep(self) -> None:
        while True:
            ((count,),) = await self._server.run("sweep", self._now(), writes=True)
            if count < DROPPED:
                return

    async def ping(self) -> None:
        await self._server.run("ping")

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        if not self._options.notify:
            raise UnsupportedOperation(
                f"{self.name} cannot watch for changes without notify=True, which every store that "
                "writes to the table must have",
                store=self.name,
            )
        await self.ready()
        try:
            return await self._feed.subscribe(scope, listener)
        except UnsupportedOperation:
            self._tells = False
            self.capabilities -= {Capability.WATCH}
            raise
