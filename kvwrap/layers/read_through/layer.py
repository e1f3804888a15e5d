"""Read-through cache: a near store in front of the store under it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import msgspec

from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.layers.base import (
    TTL,
    Capability,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Store,
    StoreSource,
    checked_source,
    live,
)
from kvwrap.layers.read_through.copies import (
    COPY,
    HEADER_LENGTH,
    decode,
    decode_entry,
    unpack_header,
)
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.findings import check_position, describe_staleness
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.singleflight import SingleFlight
from kvwrap.layers.read_through.tier import Tier
from kvwrap.layers.shared.findings import contextual_below


class ReadThrough(Layer):
    """Read-through cache: answers reads from a near store and fills it from the far store.

    The far store is what this layer is over. Users see a near copy as the far entry: its value,
    version and remaining time. A copy is used for `ttl` seconds, counted from when the far
    store was asked, or until the entry itself expires if that is sooner. An expired entry is
    never served.

    Each key is read from the far store by one call at a time (single flight), which prevents a
    cache stampede. A caller whose keys are being read waits for that read, whatever other keys
    it asks for, and reads its remaining keys in one call. The read belongs to no caller: it goes
    on if they are cancelled. Its error reaches all callers that wait, and is not remembered.

    Writes, removals, touches and drops go to the far store. Then the near copy is removed,
    whatever their outcome. It is not replaced by what was written, for two reasons: layers
    inside may have changed that (for example its expiry), and of two concurrent writes only the
    far store knows which came last. So every copy is something that the far store returned. A
    read that begins after such a call has returned never returns anything older, in any
    interleaving; the argument is in `kvwrap.layers.read_through.tier.Tier`.

    This holds within a process. A write of another process becomes visible when the copy's `ttl`
    is over, at the latest. So does a write that the far store carries out after its caller was
    cancelled. A near store that fails costs only speed: reads go to the far store, and a copy
    that could not be removed is not served.

    Args:
        near: The near store: a store, a factory of one, or what `kvwrap.adapt` takes.
        ttl: The longest that a copy is used, in seconds; `None` for as long as the entry lives.
        negative_ttl: Negative caching: seconds for which a miss is remembered; `None` for not
            at all. A put ends it.
        stale_if_error: Seconds after its `ttl` for which a copy is still served when the far
            store raises `StoreUnavailable`; never beyond the entry's own expiry. After a
            failure, the key is served for 30 s without asking the far store again.
        refresh_ahead: The share of a copy's life, between 0 and 1, after which a reader starts
            a refresh and does not wait for it. A failed refresh is not tried again for 30 s.
        jitter: The share of `ttl` and `negative_ttl`, from 0 to below 1, up to which they are
            shortened at random, so that copies made together do not expire together.
        rng: Source of the randomness.

    Attributes:
        near: The running near store.

    >>> import asyncio
    >>> from kvwrap import MemoryStore, stack
    >>> store = stack().read_through(MemoryStore(max_entries=1000), ttl=30).over(MemoryStore())
    >>> async def main() -> float:
    ...     await store.put("a", {"n": 1})
    ...     await store.get("a")
    ...     await store.get("a")
    ...     return store.find(ReadThrough).snapshot().hit_rate
    >>> asyncio.run(main())
    0.5
    """

    traits = frozenset({"caches"})
    finding_codes = frozenset(
        {
            "cached-twice",
            "context-lost",
            "near-not-nearer",
            "near-without-ttl",
            "plaintext-near",
            "retry-outside-cache",
        }
    )

    def __init__(
        self,
        near: StoreSource,
        *,
        ttl: TTL | None = None,
        negative_ttl: TTL | None = None,
        stale_if_error: TTL | None = None,
        refresh_ahead: float | None = None,
        jitter: float = 0.0,
        rng: random.Random | None = None,
    ) -> None:
        self._source = checked_source(near, "near")
        self._freshness = Freshness(ttl, negative_ttl, stale_if_error, refresh_ahead, jitter, rng)

    def on_bind(self) -> None:
        self.near: Store = self.second("near", self._source)
        self._counts = TierCounts()
        self._tier = Tier(self.near, self.inner, self._freshness, self._counts, self.name)
        self._pending = self._tier.pending

    @property
    def idle(self) -> bool:
        """True while no read of the far store and no fill of the near store is in progress."""
        return self._tier.idle

    async def setup(self) -> None:
        try:
            await super().setup()
        except StoreUnavailable:
            # A near store opens at its next use, once it is available. Reads skip it until then.
            self._counts.near_failures += 1

    async def teardown(self) -> None:
        await self._tier.close()
        await super().teardown()

    # -- for users ---------------------------------------------------------------------

    def snapshot(self) -> TierCounts:
        """Return what this cache has done so far; later calls do not change it."""
        return msgspec.structs.replace(self._counts)

    async def invalidate(self, *keys: str, collection: str | None = None) -> None:
        """Read these keys from the far store the next time.

        Args:
            keys: The keys, named as they reach this layer.
            collection: Their collection, named as it reaches this layer.
        """
        await self.ready()
        await self._tier.invalidate(collection, keys)

    async def clear(self) -> None:
        """Read everything from the far store the next time."""
        await self.ready()
        await self._tier.invalidate_everything()

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from contextual_below(self, below)
        yield from check_position(self.near, self._freshness.ttl, above, below, base)

    def notes(self) -> Iterable[str]:
        return describe_staleness(
            self._freshness, shared=Capability.SHARED in self.inner.capabilities
        )

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        pending = self._pending
        if len(keys) == 1 and not pending:
            try:
                near_entry = (await self.near.read(collection, keys))[0]
            except KvwrapError:
                self._counts.near_failures += 1
                near_entry = None
            if near_entry is not None and len(near_entry.codec) >= HEADER_LENGTH:
                mark, version, refresh_at, _, expiry = unpack_header(near_entry.codec)
                if mark == COPY and self.clock.time() < refresh_at:
                    self._counts.near_hits += 1
                    return [decode_entry(near_entry, version, expiry)]
            return await self._answer(collection, keys, {keys[0]: near_entry})
        if not keys:
            return []
        usable: Sequence[str] = list(dict.fromkeys(keys))
        if pending:
            now = self.clock.time()
            usable = [key for key in usable if not pending.is_pending(collection, key, now)]
        near_entries: dict[str, Entry | None] = {}
        if usable:
            try:
                near_entries = dict(zip(usable, await self.near.read(collection, usable)))
            except KvwrapError:
                self._counts.near_failures += 1
        return await self._answer(collection, keys, near_entries)

    async def _answer(
        self,
        collection: Collection,
        keys: Sequence[str],
        near_entries: dict[str, Entry | None],
    ) -> list[Entry | None]:
        """Return the entries: from the near store's entries, the remaining from the far store."""
        if not self.is_open:
            await self.ready()
        tier, counts = self._tier, self._counts
        entries: dict[str, Entry | None] = {}
        stale: dict[str, Entry] = {}
        missing: list[str] = []
        to_refresh: list[str] = []
        now = self.clock.time()
        for key in dict.fromkeys(keys):
            near_entry = near_entries.get(key)
            copy = None if near_entry is None else decode(near_entry)
            if copy is not None and now < copy.fresh_until:
                entries[key] = copy.entry
                if copy.entry is None:
                    counts.negative_hits += 1
                else:
                    counts.near_hits += 1
                    if now >= copy.refresh_at:
                        to_refresh.append(key)
                continue
            if (
                copy is not None
                and copy.entry is not None
                and now < self._freshness.usable_until(copy)
            ):
                stale[key] = copy.entry
                if (collection, key) in tier.cooldown:
                    entries[key] = copy.entry
                    counts.stale_served += 1
                    continue
            missing.append(key)
        to_refresh = [
            key
            for key in to_refresh
            if tier.in_flight(collection, key) is None and (collection, key) not in tier.cooldown
        ]
        if to_refresh:
            counts.refreshes += len(to_refresh)
            tier.start(collection, to_refresh, is_refresh=True)
        if missing:
            await self._fetch(collection, missing, entries, stale)
        return [entries[key] for key in keys]

    async def _fetch(
        self,
        collection: Collection,
        missing: Sequence[str],
        entries: dict[str, Entry | None],
        stale: dict[str, Entry],
    ) -> None:
        """Add the missing entries to `entries`.

        Args:
            collection: Where the keys are.
            missing: The keys to read from the far store.
            entries: Where to put the entries, by key.
            stale: What to use where the far store is unavailable, by key.
        """
        tier, counts = self._tier, self._counts
        flights: dict[SingleFlight, list[str]] = {}
        unread: list[str] = []
        for key in missing:
            flight = tier.in_flight(collection, key)
            if flight is None:
                unread.append(key)
            else:
                flights.setdefault(flight, []).append(key)
        counts.misses += len(missing)
        counts.joined += len(missing) - len(unread)
        if unread:
            flights[tier.start(collection, unread)] = unread
        for flight, keys in flights.items():
            try:
                far_entries = await flight.result()
            except StoreUnavailable:
                now = self.clock.time()
                stale_entries = {key: live(stale.get(key), now) for key in keys}
                if None in stale_entries.values():
                    raise
                entries.update(stale_entries)
                counts.stale_served += len(keys)
                counts.misses -= len(keys)
            else:
                now = self.clock.time()
                entries.update((key, live(far_entries[key], now)) for key in keys)

    # -- changing ----------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self.ready()
        try:
            return await self.inner.write(collection, keys, entries, expected)
        finally:
            await self._tier.invalidate(collection, keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self.ready()
        try:
            return await self.inner.remove(collection, keys, expected)
        finally:
            await self._tier.invalidate(collection, keys)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        await self.ready()
        try:
            return await self.inner.touch(collection, keys, expires)
        finally:
            await self._tier.invalidate(collection, keys)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        await self.ready()
        try:
            return await self.inner.drop_range(collection, key_range)
        finally:
            await self._tier.invalidate_range(collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        await self.ready()
        try:
            return await self.inner.drop(collection)
        finally:
            await self._tier.invalidate_collection(collection)

    async def drop_all(self) -> bool:
        await self.ready()
        try:
            return await self.inner.drop_all()
        finally:
            await self._tier.invalidate_everything()

    async def sweep(self) -> None:
        await self.inner.sweep()
        try:
            await self.near.sweep()
        except KvwrapError:
            self._counts.near_failures += 1
