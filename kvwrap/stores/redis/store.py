"""Entries in a Redis or Valkey server."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from kvwrap.core.capability import Capability
from kvwrap.core.clock import Clock
from kvwrap.core.codec import is_bare
from kvwrap.core.entry import Entry, foreign, is_entry, live
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count, checked_flag, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError, ValueTooLarge
from kvwrap.stores.redis.keys import Names, RawNames, as_text
from kvwrap.stores.redis.scan import Scan
from kvwrap.stores.redis.scripts import REMOVE, WRITE, life_of, wanted_version
from kvwrap.stores.redis.server import Server
from kvwrap.stores.shared import urls

if TYPE_CHECKING:
    from redis.asyncio import Redis

_LARGEST: Final = 512 * 1024 * 1024
"""Bytes in a string of Redis, as long as proto-max-bulk-len is what it is by default."""


class RedisStore(Store):
    """Keeps entries in a Redis or Valkey server (6.2 or later).

    A batch is one round trip, conditional writes are scripts, one key each, and Redis frees
    expired entries by itself. Entries lie under `namespace:collection:key`, and `destroy`
    drops those of the namespace only. A server that was away is used again when it is back.

    With `raw=True` the keys are those of another program, `key` in the default collection and
    `collection:key` in others, and so are the values: bytes that kvwrap did not write
    are given to the stack's serializer as they are, and what no layer has changed is written
    so. What layers have changed (compressed, encrypted) is written with kvwrap's header, and
    both kinds are read side by side. Values of other types than string are passed over.

    For one event loop, and not for use across `fork`.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://…` for TLS, `unix:///path?db=…`.
        client: In place of a URL, a `redis.asyncio.Redis` that is yours to close; without
            `decode_responses`. Sentinel's `master_for` gives one, too.
        host: The server, in place of a URL.
        port: Its port; 6379 if left out.
        db: The database's number; may add to a URL, as may the next two.
        username: Of an account of the server.
        password: Of that account; never shown.
        namespace: What this store's keys in Redis begin with.
        raw: Whether the data is another program's.
        timeout: Seconds for one round trip, the wait for a connection included; `None` for
            no end.
        max_connections: How many connections are used at the same time; callers beyond wait.
        clock: Where the time comes from.
        serializer: What turns values into bytes where no layer says otherwise: JSON, or
            with `raw` bytes as they are.

    Raises:
        StoreTimeout: From any method, when there was no answer within `timeout`.
        StoreFull: When Redis is at its `maxmemory` and may evict nothing.
        StoreUnavailable: When it cannot be reached or refuses; writes under way may or may
            not have been carried out.
        ValueTooLarge: For a value over 512 MB.
    """

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
        }
    )

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | None = None,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        username: str | None = None,
        password: str | None = None,
        namespace: str = "kvwrap",
        raw: bool = False,
        timeout: float | None = 5.0,
        max_connections: int = 32,
        clock: Clock | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        otherwise = BytesSerializer() if checked_flag(raw, "raw") else JSON
        super().__init__(clock=clock, serializer=otherwise if serializer is None else serializer)
        place = {"host": host, "port": port}
        login = {"db": db, "username": username, "password": password}
        given = [name for name, value in (place | login).items() if value is not None]
        if client is not None and (url is not None or given):
            raise ConfigurationError("a client has its own server: leave url, host, … away")
        if url is not None and (host is not None or port is not None):
            raise ConfigurationError("the URL names the host: give url or host and port")
        for name, number, last in (("port", port, 65_535), ("db", db, 2**31 - 1)):
            if number is not None and (type(number) is not int or not 0 <= number <= last):
                raise ConfigurationError(f"{name} is a whole number from 0 to {last}")
        if host is not None:
            checked_name(host, "host")
        for name, text in (("username", username), ("password", password)):
            if text is not None and not isinstance(text, str):
                raise ConfigurationError(f"{name} is a string, not {type(text).__name__}")
        self._raw = raw
        self._names = RawNames() if raw else Names(checked_name(namespace, "namespace"))
        self._server = Server(
            owner=self.name,
            ready=self.ready,
            url=url,
            options=place | login,
            client=client,
            timeout=None if timeout is None else checked_seconds(timeout, "timeout"),
            limit=checked_count(max_connections, "max_connections"),
        )
        if raw:
            self.capabilities -= {Capability.COLLECTIONS, Capability.DESTROY}

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of a URL as the constructor takes it.

        Options beside the driver's own: `namespace`, `raw`, `timeout`, `max_connections`.
        """
        parts = urls.split(url, "redis", "rediss", "unix")
        given, others = urls.taken(
            parts.query,
            {
                "namespace": str,
                "raw": urls.flag,
                "timeout": urls.number_or_none,
                "max_connections": urls.whole,
            },
        )
        return cls(parts._replace(query=others).geturl(), **given)

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        self._server.open()

    async def teardown(self) -> None:
        await self._server.close()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if not keys:
            return []
        prefix = self._names.prefix(collection)
        names = [prefix + key for key in keys]
        if self._raw:
            found = await self._server.each(
                collection, keys, lambda some: self._read_raw(names[some])
            )
        else:
            found = await self._server.each(
                collection, keys, lambda some: self._server.ask("MGET", *names[some])
            )
        now = self.clock.time()
        entries: list[Entry | None] = []
        for key, value in zip(keys, found):
            entry = None if value is None else self._entry_of(value, collection, key, now)
            entries.append(live(entry, now))
        return entries

    async def _read_raw(self, names: Sequence[str]) -> list[tuple[bytes, int] | None]:
        # In one piece: an expiry must be that of the value it came with.
        commands = [("MGET", *names), *(("PTTL", name) for name in names)]
        values, *lives = await self._server.ask_all(commands, whole=True)
        return [None if v is None else (v, left) for v, left in zip(values, lives, strict=True)]

    def _entry_of(self, value: Any, collection: Collection, key: str, now: float) -> Entry:
        if not self._raw:
            return Entry.from_bytes(value, collection, key, self.name)
        data, left = value
        if is_entry(data):
            return Entry.from_bytes(data, collection, key, self.name)
        return foreign(data, now, now + left / 1000 if left >= 0 else None)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        prefix = self._names.prefix(collection)
        names = [prefix + key for key in keys]
        values = [self._bytes_of(entry, collection, key) for entry, key in zip(entries, keys)]
        now = self.clock.time()
        lives = [life_of(entry.expires_at, now) for entry in entries]
        if expected is not None:
            wanted = [wanted_version(version) for version in expected]
            moment = repr(now * 1000)
            calls = [
                (1, name, version, moment, life, value)
                for name, version, life, value in zip(names, wanted, lives, values, strict=True)
            ]
            answers = await self._server.each(
                collection, keys, lambda some: self._server.run(WRITE, calls[some])
            )
            return [answer == 1 for answer in answers]
        if len(names) > 1 and not any(lives):
            pairs = list(zip(names, values, strict=True))
            await self._server.each(collection, keys, lambda some: self._put_all(pairs[some]))
        else:
            commands = [
                ("DEL", name)
                if life == "0"
                else ("SET", name, value, *(("PX", life) if life else ()))
                for name, value, life in zip(names, values, lives, strict=True)
            ]
            await self._server.each(
                collection, keys, lambda some: self._server.ask_all(commands[some])
            )
        return [True] * len(names)

    async def _put_all(self, pairs: Sequence[tuple[str, bytes]]) -> list[bool]:
        await self._server.ask("MSET", *chain.from_iterable(pairs))
        return [True] * len(pairs)

    def _bytes_of(self, entry: Entry, collection: Collection, key: str) -> bytes:
        # Bare bytes that begin as an entry does would be read as one.
        bare = self._raw and is_bare(entry.codec) and not is_entry(entry.body)
        data = entry.body if bare else entry.to_bytes(collection, key)
        if len(data) > _LARGEST:
            raise ValueTooLarge(
                f"{len(data)} bytes are more than Redis's {_LARGEST}: nothing was written",
                store=self.name,
                collection=collection,
                key=key,
            )
        return data

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        prefix = self._names.prefix(collection)
        moment = repr(self.clock.time() * 1000)
        calls = [
            (1, prefix + key, wanted_version(version), moment)
            for key, version in zip(keys, expected or repeat(None))
        ]
        answers = await self._server.each(
            collection, keys, lambda some: self._server.run(REMOVE, calls[some])
        )
        return [answer == 1 for answer in answers]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        place = cursor if isinstance(cursor, Scan) else Scan()
        if place.page is not None:
            return place.page
        prefix = self._names.prefix(collection)
        scan = place.following()
        names = await self._step(scan, prefix + key_range.prefix, "list")
        keys = []
        for name in names:
            # SCAN may come upon a name several times, and upon names that are no text.
            if name not in scan.seen:
                scan.seen.add(name)
                key = as_text(name)[len(prefix) :]
                if key and key in key_range:
                    keys.append(key)
        place.page = Page(keys, None if scan.ended else scan)
        return place.page

    async def list_collections(self) -> list[Collection]:
        if self._raw:
            raise self._unsupported("enumerate collections: raw=True has keys without any")
        scan, found = Scan(), set[Collection]()
        while not scan.ended:
            for name in await self._step(scan, self._names.start, "list"):
                if ":" in (text := as_text(name)[len(self._names.start) :]):
                    found.add(self._names.collection(text))
        return sorted(found, key=lambda name: name or "")

    async def drop(self, collection: Collection) -> bool:
        if self._raw and collection is None:
            raise self._unsupported(
                "destroy the default collection: with raw=True it is everything"
            )
        return await self._drop(self._names.prefix(collection))

    async def drop_all(self) -> bool:
        if self._raw:
            raise self._unsupported("destroy what other programs have written (raw=True)")
        return await self._drop(self._names.start)

    async def _drop(self, prefix: str) -> bool:
        scan, dropped = Scan(), 0
        while not scan.ended:
            dropped += await self._step(scan, prefix, "drop")
        return dropped > 0

    async def _step(self, scan: Scan, prefix: str, mode: Literal["list", "drop"]) -> Any:
        return await scan.step(self._server, prefix, mode, now=self.clock.time())

    async def ping(self) -> None:
        await self._server.ask("PING")
