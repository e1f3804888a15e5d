"""A nearer store in front of the one under it."""

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
    Layer,
    Store,
    StoreSource,
    checked_source,
    live,
)
from kvwrap.layers.read_through.copies import COPY, LENGTH, decode, decode_entry, unpack_head
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.findings import findings_of, noted
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.singleflight import SingleFlight
from kvwrap.layers.read_through.tier import Tier


class ReadThrough(Layer):
    """Answers reads from a nearer store, and fills it with what the far one has.

    What users see of a near copy is the far entry's own: value, version and time left. A
    copy is used for `ttl` seconds, counted from when the far store was asked, or until the
    entry itself ends if that is sooner; an expired entry is never served.

    One read of the far store per key at a time: a caller whose keys are being read waits
    for that read, whatever other keys it brings, and reads the rest in one call. That read
    belongs to none of the callers: it goes on if they are cancelled, and its error reaches
    all who wait and is remembered by none.

    Writes, removals, touches and drops go to the far store; then the near copy is removed,
    whatever their outcome. It is not replaced by what was written, since layers further in
    may have changed that (its end, say), and since of two writes at once only the far store
    knows which came last: so every copy is something that the far store gave. A read that
    begins after such a call has returned never gives anything older, in any interleaving;
    the argument stands with `kvwrap.layers.read_through.tier.Tier`.

    This holds within a process. What another process writes is seen when the copy's `ttl` is
    over, at the latest. So is a write that ends after its caller has given it up. A near
    store that fails costs speed only: reads go to the far store, and copies that it could
    not be made to remove are not believed.

    Args:
        near: The nearer store: a store, a factory of one, or what `kvwrap.adapt` takes.
        ttl: The longest that a copy is used, in seconds; `None` for as long as the entry lives.
        negative_ttl: How long a miss is remembered; `None` for not at all. A put ends it.
        stale_if_error: For how long after its `ttl` a copy is still served when the far store
            raises `StoreUnavailable`; never beyond the entry's own end. After a failure, the
            key is served for 30 s without asking the far store again.
        refresh_ahead: The share of a copy's life, between 0 and 1, after which a reader has it
            renewed, without waiting for that. A failed renewal is not tried again for 30 s.
        jitter: The share of `ttl` and `negative_ttl`, from 0 to below 1, that is taken off at
            random, so that copies made together do not expire together.
        rng: Where the randomness comes from.

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
        self._lifetimes = Freshness(ttl, negative_ttl, stale_if_error, refresh_ahead, jitter, rng)

    def on_bind(self) -> None:
        self.near: Store = self.second("near", self._source)
        self._counts = TierCounts()
        self._tier = Tier(self.near, self.inner, self._lifetimes, self._counts, self.name)
        self._doubts = self._tier.doubts

    async def setup(self) -> None:
        try:
            await super().setup()
        except StoreUnavailable:
            # It opens itself when it is used after it is back; until then it is passed by.
            self._counts.near_failures += 1

    async def teardown(self) -> None:
        await self._tier.close()
        await super().teardown()

    # -- for users ---------------------------------------------------------------------

    def snapshot(self) -> TierCounts:
        """What this tier has done so far."""
        return msgspec.structs.replace(self._counts)

    async def invalidate(self, *keys: str, collection: str | None = None) -> None:
        """Read these keys, named as they reach this layer, from the far store the next time."""
        await self.ready()
        await self._tier.changed(collection, keys)

    async def clear(self) -> None:
        """Read everything from the far store the next time."""
        await self.ready()
        await self._tier.all_changed()

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        return findings_of(self.near, self._lifetimes.ttl, above, below, base)

    def notes(self) -> Iterable[str]:
        return noted(self._lifetimes, Capability.SHARED in self.inner.capabilities)

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        doubts = self._doubts
        if len(keys) == 1 and not doubts:
            try:
                kept = (await self.near.read(collection, keys))[0]
            except KvwrapError:
                self._counts.near_failures += 1
                kept = None
            if kept is not None and len(kept.codec) >= LENGTH:
                mark, version, renew, _, end = unpack_head(kept.codec)
                if mark == COPY and self.clock.time() < renew:
                    self._counts.near_hits += 1
                    return [decode_entry(kept, version, end)]
            return await self._judged(collection, keys, {keys[0]: kept})
        if not keys:
            return []
        believed: Sequence[str] = list(dict.fromkeys(keys))
        if doubts:
            now = self.clock.time()
            believed = [key for key in believed if not doubts.is_pending(collection, key, now)]
        found: dict[str, Entry | None] = {}
        if believed:
            try:
                found = dict(zip(believed, await self.near.read(collection, believed)))
            except KvwrapError:
                self._counts.near_failures += 1
        return await self._judged(collection, keys, found)

    async def _judged(
        self, collection: Collection, keys: Sequence[str], kept: dict[str, Entry | None]
    ) -> list[Entry | None]:
        """The entries, given what the near store keeps of them."""
        if not self.is_open:
            await self.ready()
        tier, counts = self._tier, self._counts
        known: dict[str, Entry | None] = {}
        stale: dict[str, Entry] = {}
        missing: list[str] = []
        ageing: list[str] = []
        now = self.clock.time()
        for key in dict.fromkeys(keys):
            form = kept.get(key)
            copy = None if form is None else decode(form)
            if copy is not None and now < copy.fresh:
                known[key] = copy.entry
                if copy.entry is None:
                    counts.negative_hits += 1
                else:
                    counts.near_hits += 1
                    if now >= copy.renew:
                        ageing.append(key)
                continue
            if copy is not None and copy.entry is not None and now < self._lifetimes.last_use(copy):
                stale[key] = copy.entry
                if (collection, key) in tier.rests:
                    known[key] = copy.entry
                    counts.stale_served += 1
                    continue
            missing.append(key)
        ageing = [
            key
            for key in ageing
            if tier.flight(collection, key) is None and (collection, key) not in tier.rests
        ]
        if ageing:
            counts.refreshes += len(ageing)
            tier.start(collection, ageing, ahead=True)
        if missing:
            await self._fetch(collection, missing, known, stale)
        return [known[key] for key in keys]

    async def _fetch(
        self,
        collection: Collection,
        missing: Sequence[str],
        known: dict[str, Entry | None],
        stale: dict[str, Entry],
    ) -> None:
        """Bring into `known` what the far store has, or what is in `stale` if it cannot say."""
        tier, counts = self._tier, self._counts
        flights: dict[SingleFlight, list[str]] = {}
        alone: list[str] = []
        for key in missing:
            flight = tier.flight(collection, key)
            if flight is None:
                alone.append(key)
            else:
                flights.setdefault(flight, []).append(key)
        counts.misses += len(missing)
        counts.joined += len(missing) - len(alone)
        if alone:
            flights[tier.start(collection, alone)] = alone
        for flight, keys in flights.items():
            try:
                found = await flight.result()
            except StoreUnavailable:
                now = self.clock.time()
                last = {key: live(stale.get(key), now) for key in keys}
                if None in last.values():
                    raise
                known.update(last)
                counts.stale_served += len(keys)
                counts.misses -= len(keys)
            else:
                now = self.clock.time()
                known.update((key, live(found[key], now)) for key in keys)

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
            await self._tier.changed(collection, keys)

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
            await self._tier.changed(collection, keys)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        await self.ready()
        try:
            return await self.inner.touch(collection, keys, expires)
        finally:
            await self._tier.changed(collection, keys)

    async def drop(self, collection: Collection) -> bool:
        await self.ready()
        try:
            return await self.inner.drop(collection)
        finally:
            await self._tier.collection_changed(collection)

    async def drop_all(self) -> bool:
        await self.ready()
        try:
            return await self.inner.drop_all()
        finally:
            await self._tier.all_changed()

    async def sweep(self) -> None:
        await self.inner.sweep()
        try:
            await self.near.sweep()
        except KvwrapError:
            self._counts.near_failures += 1
