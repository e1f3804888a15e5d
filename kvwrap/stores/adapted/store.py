"""Entries in an object of another library: a cache, a mapping, a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Final, Literal

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.paging import Snapshot
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_flag, checked_seconds
from kvwrap.errors import ConfigurationError
from kvwrap.stores.adapted.calls import Calls, named
from kvwrap.stores.adapted.content import Content, by_collection
from kvwrap.stores.adapted.recognise import adapter_for
from kvwrap.stores.adapted.undecodable import read_each
from kvwrap.stores.shared.flat_names import check_default_collection, parse_name

_AT_ONCE: Final = 64
"""Keys of a batch in one call, whose time is limited."""
_EXPIRED: Final = 0.001
"""An expiry time, in Unix seconds, that is over."""


class AdaptedStore(Store):
    """Keeps entries in an object of another library, by that library's own methods.

    What the object is, is found by its class, without an import of its package: a mapping, a
    cache of Django, aiocache, cashews, cachelib or diskcache, a table of keyvalue-sqlite, a store
    of Zarr, obstore, LangGraph, Great Expectations or Steamship, or any object with `get` and
    `set`. `explain()` says what was found. The object stays the caller's: it is never closed.

    Blocking objects are called on one thread of the store, one call after another. Conditional
    writes are supported only where the object has transactions. The other capabilities depend
    on what the object can do, too.

    A value of another program is never replaced or removed: reading it and writing over it
    raise `CorruptEntry`, and listings leave it out. With `raw`, it is a value like any other.

    Args:
        obj: The object.
        raw: True if the values in the object are those of other programs. Keys of the default
            collection are then the names in the object. A value that the object can hold as it
            is, and that no layer has changed, is put so.
        namespace: Where the entries are in the object, in stores of LangGraph (the namespace,
            `("kvwrap",)` by default) and Great Expectations (the first parts of every key).
        form: What entries become in an object that is known only by `get` and `set`: "bytes",
            "text" or "json" for JSON objects.
        timeout: Seconds for one call of up to 64 keys, and for the wait for its turn; None for no
            limit.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does: JSON, or with `raw` bytes
            unchanged if the object holds nothing else.

    Raises:
        StoreTimeout: From any method, if a call took more than `timeout` seconds. A write may
            still be carried out.
        StoreUnavailable: From any method, if the object raised an error; that is the cause.
    """

    def __init__(
        self,
        obj: Any,
        *,
        raw: bool = False,
        namespace: Sequence[str] | None = None,
        form: Literal["bytes", "text", "json"] | None = None,
        timeout: float | None = 5.0,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        adapter = adapter_for(obj, namespace, form, raw=raw)
        if adapter is None:
            raise ConfigurationError(
                "`obj` must be a mutable mapping, an object of a library that kvwrap knows, or one "
                f"with the methods `get` and `set`; got {type(obj).__name__}"
            )
        if timeout is not None:
            checked_seconds(timeout, "timeout")
        self._raw = checked_flag(raw, "raw")
        check_default_collection(default_collection, raw=self._raw)
        self._adapter = adapter
        self._title = type(obj).__name__
        default = BytesSerializer() if self._raw and adapter.form.takes == (bytes,) else JSON
        super().__init__(
            clock=clock, serializer=serializer or default, default_collection=default_collection
        )
        self._content = Content(adapter, raw=self._raw, clock=self.clock, store=self.name)
        self._calls = Calls(
            adapter.kind, store=self.name, blocking=adapter.blocking, timeout=timeout
        )
        own = {"adapted", "raw"} if self._raw else {"adapted"}
        self.traits = self.traits | own  # type: ignore[misc]  # of this instance
        capabilities = set(adapter.properties)
        if adapter.lists:
            capabilities |= OPERATIONS - {Capability.COMPARE_AND_PUT}
        if adapter.has_ttl:
            capabilities |= {Capability.NATIVE_TTL}
        if adapter.transaction is not None:
            capabilities |= {Capability.COMPARE_AND_PUT}
        self.capabilities = frozenset(capabilities)

    def __repr__(self) -> str:
        raw = ", raw=True" if self._raw else ""
        return f"{type(self).__name__}({self._title}{raw})"

    @property
    def summary(self) -> str:
        where = "a thread" if self._adapter.blocking else "the event loop"
        kind, form = self._adapter.kind, self._adapter.form.title
        article = "an" if kind[0] in "aeiou" else "a"
        return f"{self!r}: {article} {kind}, entries as {form}, called on {where}"

    @property
    def location(self) -> str:
        place = self._adapter.place()
        return self.name if place is None else f"{self._adapter.kind} {place}"

    @property
    def idle(self) -> bool:
        """True while no call is in progress or waits for its turn."""
        return super().idle and self._calls.idle

    async def evicts(self) -> str | None:
        return self._adapter.eviction()

    async def setup(self) -> None:
        self._calls.open()

    async def teardown(self) -> None:
        await self._calls.close(self._adapter.release)

    async def _call(
        self, function: Callable[..., Any], *arguments: Any, writes: bool = False
    ) -> Any:
        if not self.is_open:
            await self.ready()
        return await self._calls.run(function, *arguments, writes=writes)

    # -- entries by key -----------------------------------------------------------------

    async def _held(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what the object holds, by name, without names that it has not."""
        return await read_each(partial(self._call, self._adapter.get_many), names)

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries: list[Entry | None] = []
        for part in _parts(keys):
            names = [self._content.name(collection, key) for key in part]
            with named(collection, part):
                held = await self._held(names)
                seconds = await self._lifetimes(held)
            entries += [
                self._content.parse(held[name], collection, key, seconds.get(name))
                if name in held
                else None
                for key, name in zip(part, names)
            ]
        return entries

    async def _lifetimes(self, held: dict[str, Any]) -> dict[str, float | None]:
        """Return the seconds left of the values of others, where the object tells them."""
        if not self._raw or not self._adapter.tells_ttl:
            return {}
        names = [name for name, value in held.items() if self._content.own(name, value) is None]
        return dict(zip(names, await self._call(self._adapter.lifetimes, names))) if names else {}

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._has_conditions(expected):
            return await self._change(collection, keys, expected or (), entries)
        # If a key occurs twice, the later entry is written.
        latest = dict(zip(keys, entries, strict=True))
        succeeded: list[str] = []
        for part in _parts(list(latest)):
            with named(collection, part, succeeded):
                held = await self._held([self._content.name(collection, key) for key in part])
                # One call has one ttl for all its names.
                calls: dict[int | None, dict[str, Any]] = {}
                for key in part:
                    name = self._content.name(collection, key)
                    self._content.is_live(held.get(name), collection, key)
                    value, ttl = self._content.encode(latest[key], collection, key)
                    calls.setdefault(ttl, {})[name] = value
                for ttl, values in calls.items():
                    await self._call(self._adapter.set_many, values, ttl, writes=True)
            succeeded += part
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._has_conditions(expected):
            return await self._change(collection, keys, expected or ())
        live: dict[str, bool] = {}
        for part in _parts(list(dict.fromkeys(keys))):
            with named(collection, part, list(live)):
                names = [self._content.name(collection, key) for key in part]
                held = await self._held(names)
                for key, name in zip(part, names):
                    live[key] = self._content.is_live(held.get(name), collection, key)
                await self._delete(collection, [k for k, name in zip(part, names) if name in held])
        return [live.pop(key, False) for key in keys]

    async def _delete(self, collection: Collection, keys: Sequence[str]) -> None:
        if not keys:
            return
        if self._adapter.deletes:
            names = [self._content.name(collection, key) for key in keys]
            await self._call(self._adapter.delete_many, names, writes=True)
            return
        gone = Entry(b"", b"", 0.0, _EXPIRED, 0)
        values = {
            self._content.name(collection, key): self._content.encode(gone, collection, key)[0]
            for key in keys
        }
        await self._call(self._adapter.set_many, values, None, writes=True)

    # -- conditional writes ---------------------------------------------------------------

    def _has_conditions(self, expected: Sequence[Expected] | None) -> bool:
        if expected is None or all(version is None for version in expected):
            return False
        if Capability.COMPARE_AND_PUT not in self.capabilities:
            raise self._unsupported("compare and put")
        return True

    async def _change(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected],
        entries: Sequence[Entry] | None = None,
    ) -> list[bool]:
        """Write entries, or remove keys, where their conditions hold."""
        changed: list[bool] = []
        for start in range(0, len(keys), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            with named(collection, keys[part], keys[:start]):
                changed += await self._call(
                    self._change_in_transaction,
                    collection,
                    keys[part],
                    expected[part],
                    None if entries is None else entries[part],
                )
        return changed

    def _change_in_transaction(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected],
        entries: Sequence[Entry] | None,
    ) -> list[bool]:
        adapter = self._adapter
        changed = []
        assert adapter.transaction is not None
        with adapter.transaction():
            for index, key in enumerate(keys):
                name = self._content.name(collection, key)
                value = adapter.get_many([name]).get(name)
                held = None if value is None else self._content.parse(value, collection, key)
                condition = expected[index]
                matches = condition is None or (
                    condition is ABSENT if held is None else condition == held.version
                )
                if entries is None:
                    matches = matches and held is not None
                    if matches:
                        adapter.delete_many([name])
                else:
                    entry = entries[index]
                    if matches:
                        value, ttl = self._content.encode(entry, collection, key)
                        adapter.set_many({name: value}, ttl)
                    # A call whose answer was lost is repeated: its entry is stored already.
                    matches = matches or (held is not None and held.version == entry.version)
                changed.append(matches)
        return changed

    # -- enumeration -----------------------------------------------------------------------

    async def _found(self) -> list[tuple[Collection, str]]:
        """Return collections and keys of all names in the object, expired or not, in order."""
        if not self._adapter.lists:
            raise self._unsupported("enumerate keys")
        with named(None, ()):
            names = [n for n in await self._call(self._adapter.list_names) if isinstance(n, str)]
            if self._content.names is not None:
                encoding = self._content.names
                hashed = [name for name in names if encoding.is_hashed(name)]
                flat = [encoding.decode(name) for name in names]
                for part in _parts(hashed):
                    held = await self._held(part)
                    owns = [self._content.own(name, value) for name, value in held.items()]
                    flat += [own[0] for own in owns if own is not None]
                names = [name for name in flat if name is not None]
        pairs = {pair for pair in map(parse_name, names) if pair is not None}
        return sorted(pairs, key=lambda pair: (pair[0] or "", pair[1]))

    async def _states(self, collection: Collection, keys: Sequence[str]) -> list[bool | None]:
        """Return for each key whether its entry is live, or None for another's value."""
        states: list[bool | None] = []
        for part in _parts(keys):
            with named(collection, part):
                held = await self._held([self._content.name(collection, key) for key in part])
            values = (held.get(self._content.name(collection, key)) for key in part)
            states += map(self._content.state, values, repeat(collection), part)
        return states

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            keys = [key for owner, key in await self._found() if owner == collection]
            cursor = Snapshot([key for key in keys if key in key_range])
        page = Snapshot.page(cursor)
        states = await self._states(collection, page.keys)
        return Page([key for key, live in zip(page.keys, states) if live], page.cursor)

    async def list_collections(self) -> list[Collection]:
        collections = []
        for collection, keys in by_collection(await self._found()):
            for part in _parts(keys):
                if any(await self._states(collection, part)):
                    collections.append(collection)
                    break
        return collections

    async def drop(self, collection: Collection) -> bool:
        return await self._drop([pair for pair in await self._found() if pair[0] == collection])

    async def drop_all(self) -> bool:
        return await self._drop(await self._found())

    async def sweep(self) -> None:
        if self._adapter.lists:
            await self._drop(await self._found(), only_expired=True)

    async def count_unreadable(self) -> int:
        if not self._adapter.lists:
            return 0
        with named(None, ()):
            count = len(await self._call(self._adapter.list_names))
        for collection, keys in by_collection(await self._found()):
            for part in _parts(keys):
                states = await self._states(collection, part)
                count -= sum(live is not None for live in states)
        return max(0, count)

    async def _drop(
        self, pairs: Sequence[tuple[Collection, str]], *, only_expired: bool = False
    ) -> bool:
        """Remove own entries. Returns True if one of them was live."""
        had_entries = False
        for collection, keys in by_collection(pairs):
            for part in _parts(keys):
                states = await self._states(collection, part)
                unwanted = (False,) if only_expired else (False, True)
                with named(collection, part):
                    await self._delete(
                        collection, [key for key, live in zip(part, states) if live in unwanted]
                    )
                had_entries = had_entries or any(states)
        return had_entries

    async def ping(self) -> None:
        with named(None, ()):
            await self._held([self._content.name(None, "kvwrap-ping")])


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Divide keys into those of one call each."""
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


def adapted(obj: Any, **options: Any) -> Store | None:
    """Return a store over this object if there is an adapter for it, else None."""
    return None if adapter_for(obj) is None else AdaptedStore(obj, **options)
