"""The first part of the store interface: get, put and delete, single and in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from kvwrap.core.clock import Clock, checked_clock
from kvwrap.core.computations import Computations, Overtaking
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.core.randomness import new_version
from kvwrap.core.reserved import RESERVED, RESERVED_END
from kvwrap.core.serializer import JSON, Serializer, ValueCodec, checked_serializer
from kvwrap.core.shared_value import SharedEntry
from kvwrap.core.stale import UserView, is_stale, stale_part, user_expiry
from kvwrap.core.tagging import Tagging, checked_tags, with_snapshot, without_tagging
from kvwrap.core.ttl import TTL, TTLs, expiries, expiry
from kvwrap.core.turns import BYTES_PER_KEY, SLICE, Turns, slices, turn
from kvwrap.core.unimplemented import Unimplemented
from kvwrap.core.validation import (
    checked_collection,
    checked_key,
    checked_keys,
    checked_values,
)
from kvwrap.errors import KvwrapError

_SEVERAL: Final = 32
_SMALL: Final = 64 * 1024
"""Values of a batch that are serialized together, and the bytes above which they are not."""

ValueHook = Callable[[Any, str, Collection], Any]
"""A function of value, key and collection that returns the value to use instead."""


class BasicMethods(Unimplemented):
    """Methods that need the primitives `read`, `write` and `remove`."""

    _on_put: tuple[ValueHook, ...] = ()
    _on_get: tuple[ValueHook, ...] = ()
    default_collection: Collection = None
    """The collection of calls that name none; a stack has that of its backend."""
    _last_collection: Collection = None
    """What was checked last: many calls in turn name the same object."""

    def __init__(self, *, clock: Clock | None = None, serializer: Serializer = JSON) -> None:
        self.clock: Clock = checked_clock(clock)
        self._values = ValueCodec(checked_serializer(serializer))
        self._tag = self._values.tag
        self._loads = self._values.serializer.loads
        self._dumps = self._values.serializer.dumps
        self._computing = Computations(self.clock)
        self._keeps_stale = False
        self._tagging: Tagging | None = None

    @property
    def serializer(self) -> Serializer:
        """The serializer of this store's values, unless a layer over it has another."""
        return self._values.serializer

    def _collection_of(self, collection: object) -> Collection:
        """Return the collection of a call, checked, or the default one if it names none."""
        return self.default_collection if collection is None else checked_collection(collection)

    # -- values and entries ------------------------------------------------------------

    def _to_entry(
        self, value: Any, expires: float | None, now: float, collection: Collection, key: str
    ) -> Entry:
        for hook in self._on_put:
            value = hook(value, key, collection)
        dumps = self._dumps
        try:
            body = dumps(value)
        except Exception as error:
            refusal = self._values.refusal(value, error)
            raise _with_names(refusal, self.name, collection, key) from refusal.__cause__
        return Entry(body, self._tag, now, expires, new_version())

    async def _to_entries(
        self,
        keys: Sequence[str],
        values: Sequence[Any],
        expires: Sequence[float | None],
        now: float,
        collection: Collection,
    ) -> list[Entry]:
        """Return the entries of a batch. Other tasks get turns in between."""
        entries: list[Entry] = []
        turns = Turns()
        at_once = 1  # until it is known that the values are small
        while (start := len(entries)) < len(keys):
            part = slice(start, start + at_once)
            bodies = None
            if at_once > 1 and not self._on_put:
                bodies = self._values.dumps_several(list(values[part]))
            if bodies is None:
                each = zip(values[part], expires[part], keys[part])
                entries += [
                    self._to_entry(value, expires_at, now, collection, key)
                    for value, expires_at, key in each
                ]
            else:
                entries += [
                    Entry(body, self._tag, now, expires_at, new_version())
                    for body, expires_at in zip(bodies, expires[part])
                ]
            added = entries[part]
            size = sum([len(entry.body) for entry in added])
            at_once = _SEVERAL if size < _SMALL else 1
            if turns.are_due(size, len(added)):
                await turn()
        return entries

    def _to_value(self, entry: Entry, collection: Collection, key: str) -> Any:
        codec = entry.codec
        if codec == self._tag and type(entry) is not SharedEntry:
            try:
                value = self._loads(entry.body)
            except Exception as error:
                raise self._unreadable(error, collection, key) from None
        else:
            try:
                if type(entry) is SharedEntry:
                    value = entry.shared.get(entry, self._values)
                else:
                    value = self._values.loads(entry.body, codec)
            except KvwrapError as error:
                raise _with_names(error, self.name, collection, key) from None
        for hook in self._on_get:
            value = hook(value, key, collection)
        return value

    async def _to_values(
        self, entries: Sequence[Entry | None], collection: Collection, keys: Sequence[str]
    ) -> list[Any | None]:
        """Return the values of a batch, None for missing entries. Other tasks get turns."""
        tag, loads = self._tag, self._loads
        ordinary = None if self._on_get else Entry
        values: list[Any | None] = []
        left = SLICE * BYTES_PER_KEY
        for key, entry in zip(keys, entries, strict=True):
            if entry is None:
                values.append(None)
                continue
            body = entry.body
            if type(entry) is ordinary and entry.codec == tag:
                try:
                    values.append(loads(body))
                except Exception as error:
                    raise self._unreadable(error, collection, key) from None
            else:
                values.append(self._to_value(entry, collection, key))
            left -= BYTES_PER_KEY + len(body)  # as `Turns` counts, whose call takes longer
            if left < 0:
                left = SLICE * BYTES_PER_KEY
                await turn()
        return values

    def _unreadable(self, error: Exception, collection: Collection, key: str) -> KvwrapError:
        """Return the error to raise after this store's serializer could not load a value."""
        corrupt = self._values.unreadable(error, self._tag)
        return _with_names(corrupt, self.name, collection, key)

    # -- the primitives as users see them ----------------------------------------------

    @property
    def _view(self) -> Primitives:
        """This store, without stale entries if it may have some."""
        return UserView(self) if self._keeps_stale else self

    @property
    def _changes(self) -> Primitives | Overtaking:
        """`_view` for changes."""
        return self._overtaking(self._view)

    def _overtaking(self, part: Primitives) -> Primitives | Overtaking:
        """Return `part` for changes, which overtake computations in progress."""
        return Overtaking(part, self._computing) if self._computing else part

    def _is_stale(self, entry: Entry) -> bool:
        """Return True for a stale entry. Slow: first compare the codec with `_tag`."""
        self._keeps_stale = self._keeps_stale or stale_part(entry.codec) > 0
        return is_stale(entry, self.clock.time())

    async def _read_one(self, collection: Collection, key: str) -> Entry | None:
        entry = (await self.read(collection, (key,)))[0]
        if entry is not None and entry.codec != self._tag and self._is_stale(entry):
            return None
        return entry

    async def _read_many(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if not keys:
            return []
        tag = self._tag
        found = await self.read(collection, keys)
        entries: list[Entry | None] = []
        for part in slices(len(found)):
            if part.start:
                await turn()
            entries += [
                None
                if entry is not None and entry.codec != tag and self._is_stale(entry)
                else entry
                for entry in found[part]
            ]
        return entries

    # -- the eight methods of the AsyncKeyValue protocol -------------------------------

    async def get(self, key: str, *, collection: str | None = None) -> Any | None:
        """Return the value, or `None` if there is no value."""
        if type(key) is not str or not key or not key.isascii() or RESERVED <= key < RESERVED_END:
            key = checked_key(key)
        if collection is None:
            collection = self.default_collection
        elif collection is not self._last_collection:
            collection = self._last_collection = checked_collection(collection)
        entry = (await self.read(collection, (key,)))[0]
        if entry is None:
            return None
        if entry.codec != self._tag:
            if self._is_stale(entry):
                return None
        elif not self._on_get and type(entry) is Entry:
            # The common case of `_to_value`, whose call would cost a tenth of a hit in memory.
            loads = self._loads
            try:
                return loads(entry.body)
            except Exception as error:
                raise self._unreadable(error, collection, key) from None
        return self._to_value(entry, collection, key)

    async def get_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[Any | None]:
        """Return the values in the order of the keys, in one round trip if the backend can."""
        keys, collection = checked_keys(keys), self._collection_of(collection)
        return await self._to_values(await self._read_many(collection, keys), collection, keys)

    async def _get_existing(self, keys: Sequence[str], collection: str | None) -> dict[str, Any]:
        """Return the values of the keys that have one, `None` included, in one round trip."""
        keys, collection = checked_keys(keys), self._collection_of(collection)
        entries = await self._read_many(collection, keys)
        values = await self._to_values(entries, collection, keys)
        return {key: value for key, value, entry in zip(keys, values, entries) if entry is not None}

    async def ttl(
        self, key: str, *, collection: str | None = None
    ) -> tuple[Any | None, float | None]:
        """Return the value and its remaining seconds; `(value, None)` has no expiry."""
        return (await self.ttl_many([key], collection=collection))[0]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[Any | None, float | None]]:
        """Return what `ttl` returns, for many keys at once."""
        keys, collection = checked_keys(keys), self._collection_of(collection)
        entries = await self._read_many(collection, keys)
        now = self.clock.time()
        values = await self._to_values(entries, collection, keys)
        return [
            (value, None)
            if entry is None or (expires_at := user_expiry(entry)) is None
            else (value, max(0.0, expires_at - now))
            for value, entry in zip(values, entries, strict=True)
        ]

    async def _snapshot_of(self, tags: object) -> bytes:
        """Return the snapshot of tags that were given for an entry."""
        names = checked_tags(tags)
        if self._tagging is None:
            raise without_tagging(self.name)
        return await self._tagging.snapshot_of(names)

    async def put(
        self,
        key: str,
        value: Any,
        *,
        collection: str | None = None,
        ttl: TTL | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        """Store the value under the key, for `ttl` seconds or without expiry.

        With the layer `Tags`, `tags` names what invalidates the entry: at most ten names.

        Raises:
            UnsupportedOperation: There are `tags`, and no such layer.
            InvalidTTL: `ttl` is not a finite number above 0, a timedelta or `None`.
            SerializationError: The value would not load unchanged.
            ValueTooLarge: The value exceeds a limit. In all three cases nothing is written.
        """
        if type(key) is not str or not key or not key.isascii() or RESERVED <= key < RESERVED_END:
            key = checked_key(key)
        if collection is None:
            collection = self.default_collection
        elif collection is not self._last_collection:
            collection = self._last_collection = checked_collection(collection)
        now = self.clock.time()
        expires = None if ttl is None else expiry(now, ttl)
        entry = self._to_entry(value, expires, now, collection, key)
        if tags is not None:
            entry = with_snapshot(entry, await self._snapshot_of(tags))
        if self._computing:
            await self._computing.overtake(collection, (key,))
        await self.write(collection, (key,), (entry,))
        if self._computing:  # since then: what was put is not replaced after this has returned
            await self._computing.overtake(collection, (key,))

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Any],
        *,
        collection: str | None = None,
        ttl: TTLs = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        """Do what `put` does, for many keys at once.

        All values are serialized before any is written.

        Args:
            keys: The keys. If one occurs twice, its last value and ttl are stored.
            values: The value of each key.
            collection: Their collection.
            ttl: The time to live of all entries, or a sequence with one for each key, in which
                `None` means no expiry.
            tags: The tags of all entries, as for `put`.

        Raises:
            InvalidBatch: `keys`, `values` and a sequence of ttls are not of equal length.
            InvalidTTL: As for `put`. In both cases nothing is written.
        """
        keys, collection = checked_keys(keys), self._collection_of(collection)
        values = checked_values(values, len(keys))
        now = self.clock.time()
        expires = expiries(now, ttl, keys)
        entries = await self._to_entries(keys, values, expires, now, collection)
        if tags is not None:
            snapshot = await self._snapshot_of(tags)
            entries = [with_snapshot(entry, snapshot) for entry in entries]
        if keys:
            if self._computing:
                await self._computing.overtake(collection, keys)
            await self.write(collection, keys, entries)
            if self._computing:
                await self._computing.overtake(collection, keys)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Delete the entry. Returns True if it existed."""
        collection, key = self._collection_of(collection), checked_key(key)
        return (await self._changes.remove(collection, (key,)))[0]

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """Delete many entries at once. Returns the number that existed."""
        keys, collection = checked_keys(keys), self._collection_of(collection)
        return sum(await self._changes.remove(collection, keys)) if keys else 0

    async def check(self) -> None:
        """Check that the backend responds; raises `StoreUnavailable` if not."""
        await self.ping()


def _with_names(error: KvwrapError, store: str, collection: Collection, key: str) -> KvwrapError:
    """Return the error with the names that were not known where it was raised."""
    error.store = error.store or store
    error.collection = collection
    error.key = key
    return error
