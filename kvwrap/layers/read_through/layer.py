"""Read-through cache: a near store in front of the store under it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kvwrap.errors import ConfigurationError, KvwrapError, StoreUnavailable
from kvwrap.layers.base import (
    TTL,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Measured,
    Store,
    StoreSource,
    checked_flag,
    checked_seconds,
    checked_source,
    first_of_equals,
    slices,
    turn,
)
from kvwrap.layers.read_through.advice import Advice
from kvwrap.layers.read_through.coherence import RUNGS, Coherence, Rung
from kvwrap.layers.read_through.copies import Copy, decode
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.findings import (
    PASSAGE,
    check_decoded,
    check_position,
    describe_staleness,
    refused_coherence,
)
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.reads import Reads
from kvwrap.layers.read_through.steady import SteadyTime
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
    it asks for, and reads its remaining keys in one call. If the caller that reads is cancelled,
    one of those that wait reads again. An error reaches all callers that wait, and is not
    remembered.

    Writes, removals, touches and drops go to the far store. Then the near copy is removed,
    whatever their outcome. It is not replaced by what was written, for two reasons: layers
    inside may have changed that (for example its expiry), and of two concurrent writes only the
    far store knows which came last. So every copy is something that the far store returned. A
    read that begins after such a call has returned never returns anything older, in any
    interleaving; the argument is in `kvwrap.layers.read_through.tier.Tier`.

    This holds within a process. A write of another process becomes visible within `bound`
    where the backend tells changes (`coherence`), and else when the copy's `ttl` is over, at the
    latest. So does a write that the far store carries out after its caller was cancelled. A near
    store that fails costs only speed: reads go to the far store, and a copy that could not be
    removed is not served.

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
        decoded: True to keep each copy also as the decoded value, which all callers share until
            the copy ends: for large values that nobody changes. A hit then decodes nothing. What
            a caller changes in such a value, the next callers see, and so do views, hooks and
            threads, and `move` writes it. Versions and the far store are not affected. The memory
            of the values comes on top of what the near store's limits count. In the debug mode of
            asyncio (`python -X dev`), every hit raises `SharedValueChanged` if the value was
            changed.
        coherence: How writes of other processes end copies. "watch": when the backend tells
            them, through all layers inside; copies without a `ttl` end after 600 s besides.
            "ttl": when a copy's `ttl` is over. "auto": the former where backend and near store
            allow it, else the latter; `explain()` says which, and why.
        bound: With "watch", seconds after which a replaced value is not served any more,
            whatever becomes of the link that tells changes.

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

    passage = PASSAGE
    traits = frozenset({"caches"})
    finding_codes = frozenset(
        {
            "cached-twice",
            "coherence-refused",
            "context-lost",
            "decoded-not-kept",
            "near-not-nearer",
            "near-without-ttl",
            "plain-keys-in-near",
            "plaintext-near",
            "renewals-end-copies",
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
        decoded: bool = False,
        coherence: Rung = "auto",
        bound: float = 1.0,
    ) -> None:
        self._source = checked_source(near, "near")
        self._freshness = Freshness(
            ttl,
            negative_ttl,
            stale_if_error,
            refresh_ahead,
            jitter,
            rng,
            decoded=checked_flag(decoded, "decoded"),
        )
        if coherence not in RUNGS:
            raise ConfigurationError(
                f"`coherence` must be one of {', '.join(map(repr, RUNGS))}; got {coherence!r}"
            )
        self._wanted = coherence
        self._bound = checked_seconds(bound, "bound")

    def on_bind(self) -> None:
        self.near: Store = self.second("near", self._source)
        self._look_up = self.near.look_up
        self._counts = TierCounts()
        self._time = self.clock.time
        self._tier = Tier(self.near, self.inner, self._freshness, self._counts, self.name)
        self._advisor = self._tier.advisor
        self._pending = self._tier.pending
        self._monotonic = self.clock.monotonic
        self._steady = SteadyTime(self.clock)
        self._coherence = Coherence(
            self._tier, self.near, self.inner, self._freshness, self._wanted, self._bound
        )
        self._reads = Reads(self.near, self._tier, self._freshness, self._counts, self.clock)

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
        try:
            await self._coherence.open()
        except BaseException:
            await super().teardown()
            raise

    async def teardown(self) -> None:
        await self._coherence.close()
        await self._tier.close()
        await super().teardown()

    # -- for users ---------------------------------------------------------------------

    def snapshot(self) -> TierCounts:
        """Return what this cache has done so far; later calls do not change it."""
        return replace(self._counts)

    def advice(self) -> Advice | None:
        """Estimate the hit rates of near stores of half, twice and ten times the size.

        They are about the last reads, and come from simulations of a sample of the keys, which
        take about 0.3 MB however large the near store is. Returns None while too little was read,
        and where `near` is no `MemoryStore` with a limit, or has one on bytes under its own layers.
        """
        return self._advisor.advice()

    def measured(self) -> Iterable[Measured]:
        return (self.snapshot(), self._coherence, self._advisor)

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
        is_watched = self._coherence.watches
        if self._wanted == "watch" and not is_watched:
            yield refused_coherence(self._coherence.obstacle())
        yield from check_position(self.near, self._freshness, is_watched, above, below, base)
        if self._freshness.decoded:
            yield from check_decoded(self.near, above)

    def notes(self) -> Iterable[str]:
        coherence = self._coherence
        yield from coherence.notes()
        yield from describe_staleness(self._freshness, self.inner.capabilities, coherence.watches)
        yield from self._advisor.notes()

    # -- reading -----------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        monotonic, now = self._monotonic(), self._time()
        if monotonic >= self._coherence.until and not self._coherence.is_heard():
            return await self._read_unheard(collection, keys)
        steady = self._steady
        if not steady.earliest < now - monotonic < steady.latest:
            self._check_clock()
        if len(keys) != 1 or self._pending:
            return await self._read_many(collection, keys) if keys else []
        look_up = self._look_up
        if look_up is not None:
            near_entry = look_up(collection, keys[0])
        else:
            near_entry = (await self._reads.read_near(collection, keys)).get(keys[0])
            now = self._time()
        if near_entry is None:
            if not self.is_open or self._coherence.is_elsewhere:
                await self._enter()
            return [await self._reads.fetch_one(collection, keys[0])]
        copy = near_entry if type(near_entry) is Copy else decode(near_entry)
        if copy is not None and now < copy.direct_until and (entry := copy.entry) is not None:
            self._counts.near_hits += 1
            return [entry]
        return await self._answer(collection, keys, keys, {keys[0]: near_entry})

    async def _enter(self) -> None:
        """Open, and hear changes in this event loop."""
        await self.ready()
        if self._coherence.is_elsewhere:
            await self._coherence.open()

    def _check_clock(self) -> None:
        if self._steady.was_set_back():
            self._tier.outdate_everything()

    async def _read_unheard(
        self, collection: Collection, keys: Sequence[str]
    ) -> list[Entry | None]:
        """Read while changes may be missing: no copy is fresh, but a stale one may be served."""
        if not self.is_open or self._coherence.is_elsewhere:
            await self._enter()
            if self._coherence.is_heard():
                return await self.read(collection, keys)
        if not keys:
            return []
        if self._freshness.stale_if_error:
            return await self._read_many(collection, keys, are_fresh=False)
        return await self._answer(collection, keys, await first_of_equals(keys), {})

    async def _read_many(
        self, collection: Collection, keys: Sequence[str], *, are_fresh: bool = True
    ) -> list[Entry | None]:
        pending = self._pending
        unique = usable = await first_of_equals(keys)
        if pending:
            usable = []
            for part in slices(len(unique)):
                if part.start:
                    await turn()
                now = self._time()
                usable += [
                    key for key in unique[part] if not pending.is_pending(collection, key, now)
                ]
        near_entries = await self._reads.read_near(collection, usable) if usable else {}
        return await self._answer(collection, keys, unique, near_entries, are_fresh=are_fresh)

    async def _answer(
        self,
        collection: Collection,
        keys: Sequence[str],
        unique: Sequence[str],
        near_entries: dict[str, Entry | None],
        *,
        are_fresh: bool = True,
    ) -> list[Entry | None]:
        if not self.is_open or self._coherence.is_elsewhere:
            await self._enter()
        return await self._reads.answer(collection, keys, unique, near_entries, are_fresh=are_fresh)

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
