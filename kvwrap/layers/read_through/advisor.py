"""Estimates of the hit rates that near tiers of other sizes would have.

Miniature simulations (Waldspurger et al., ATC 2017) over keys that are sampled by their hash
(SHARDS, Waldspurger et al., FAST 2015): of the keys whose hash is below a threshold, a store with
as much smaller limits sees every read, fill and removal, and evicts as the near store does. Their
number of entries is bounded, however large the tier.

A hit of a key that is not sampled does nothing for this: a copy says until when it is returned
without a note (`Copy.direct_until`). Nor does a further hit of a sampled key that every simulation
has, until these have replaced half of their entries: it would hardly change what they evict, and
an estimate needs their misses alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, inf
from typing import Final, NamedTuple
from zlib import crc32

from msgspec.structs import force_setattr

from kvwrap.core.clock import Clock
from kvwrap.core.figures import Measured, gauge
from kvwrap.core.limits import Limits, Outline
from kvwrap.core.primitives import Collection, KeyRange, QualifiedKey
from kvwrap.core.store import Store
from kvwrap.layers.read_through.advice import Advice, SizeAdvice
from kvwrap.layers.read_through.copies import Copy
from kvwrap.layers.read_through.counts import TierCounts
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.miniature import ENTRIES, Miniature

_FACTORS: Final = (0.5, 2.0, 10.0)

_WEIGHED: Final = 100
"""Fills from which the mean size of a copy is known."""

_PERIOD: Final = 100
"""Reads for each entry of the tier after which the counts of an earlier period are forgotten."""

_LEAST_PERIOD: Final = 20_000

_LEAST_READS: Final = 1000
_LEAST_READS_PER_ENTRY: Final = 10

_LARGEST_ERROR: Final = 0.02
"""The standard error of a hit rate up to which it is told. After a period, none is larger."""

_STEEPEST: Final = 2.0
"""The most by which a miss that the sample has too many or too few corrects an estimate."""

_ALL_KEYS: Final = KeyRange()

_32_BITS: Final = 2**32 - 1


class Moment(NamedTuple):
    """What had been counted at one time: hits, misses, and those of each simulation."""

    time: float
    hits: int
    misses: int
    simulated: tuple[tuple[int, int, int], ...]


class Advisor(Measured):
    """Sees what is read and filled, and tells what tiers of other sizes would have done.

    It has three simulations of about 300 entries each, with the names and without the values: 0.3
    MB, however large the tier and however long it is used, and at most 0.9 MB if bytes are limited.

    Args:
        near: The near store. Without limits, or with limits on bytes under layers that may change
            how many these are, nothing is estimated.
        freshness: How long copies are used.
        counts: What the tier has done.
        clock: The stack's clock.
    """

    figures = (
        gauge(
            "near.hit_rate",
            "1",
            "Hit rate of the near store, and estimates for other sizes of it.",
            "size",
            path="curve",
            merge="max",
            noted=True,
        ),
        gauge(
            "near.hit_rate_reads_missing",
            "{key}",
            "Keys to be read, at least, until the hit rates by size are known; then 0.",
            path="reads_missing",
            merge="max",
            noted=True,
        ),
    )

    def __init__(self, near: Store, freshness: Freshness, counts: TierCounts, clock: Clock) -> None:
        limits = near.base.limits
        if limits is not None and limits.max_bytes is not None and near.layers:
            limits = None
        self._limits = limits
        self._keeps_copies = near.look_up is not None
        self._freshness = freshness
        self._counts = counts
        self._time = clock.time
        self._weight = self._weighed = 0
        self._entries = 0.0
        self._threshold = 0
        self._miniatures: tuple[Miniature, ...] = ()
        self._missed: dict[QualifiedKey, list[Miniature]] = {}
        self._settled: list[Copy] = []
        self._replaced = 0
        self._turnover = 1
        self._start: Moment | None = None
        self._middle = self._now()
        if limits is not None:
            self._begin(limits)

    # -- what is seen ------------------------------------------------------------------

    def hit(self, collection: Collection, key: str, copy: Copy) -> bool:
        """Note the hit of a copy that has to be noted. Returns True."""
        is_sampled = False
        is_had = True
        if self._threshold and (mark := _mark(collection, key)) < self._threshold:
            is_sampled = True
            now = self._time()
            for miniature in self._miniatures:
                if mark < miniature.threshold and not miniature.simulation.use(
                    (collection, key), now
                ):
                    is_had = False
                    miniature.misses += 1
                    miniature.apart += 1
                    until = self._freshness.renewed_until(copy.entry, now)
                    self._put(miniature, collection, key, copy, until, now)
        if is_had and self._keeps_copies:
            force_setattr(copy, "direct_until", copy.refresh_at)
            if is_sampled:
                self._settled.append(copy)
                if len(self._settled) > ENTRIES:
                    self._unsettle()
        return True

    def miss(self, collection: Collection, keys: Sequence[str]) -> None:
        """Note reads that wait for the far store."""
        threshold = self._threshold
        if not threshold:
            return
        for key in keys:
            if (mark := _mark(collection, key)) < threshold:
                self._miss((collection, key), mark)

    def _miss(self, name: QualifiedKey, mark: int) -> None:
        now = self._time()
        missed = []
        for miniature in self._miniatures:
            if mark < miniature.threshold:
                miniature.real_misses += 1
                if miniature.simulation.use(name, now):
                    miniature.apart += 1
                else:
                    miniature.misses += 1
                    missed.append(miniature)
        if len(self._missed) >= ENTRIES:
            self._missed.clear()  # reads that failed, or found nothing
        self._missed[name] = missed

    def fill(
        self, collection: Collection, keys: Sequence[str], copies: Sequence[Copy], is_refresh: bool
    ) -> None:
        """Note copies that were put into the near store.

        Args:
            collection: Where the keys are.
            keys: The keys.
            copies: Their copies.
            is_refresh: True if the near store had copies of them.
        """
        limits = self._limits
        if limits is None:
            return
        if limits.max_bytes is not None:
            self._weight += sum(map(_size, copies))
            self._weighed += len(copies)
        if not self._threshold:
            self._begin(limits)
        if not (self._missed or is_refresh):
            return
        for key, copy in zip(keys, copies):
            missed = self._missed.pop((collection, key), None)
            if is_refresh:
                missed = self._refreshed((collection, key))
            if missed is not None:
                force_setattr(copy, "direct_until", -inf)
                now = self._time()
                for miniature in missed:
                    self._put(miniature, collection, key, copy, copy.fresh_until, now)

    def _refreshed(self, name: QualifiedKey) -> list[Miniature] | None:
        """Return the simulations that have a key; None if it is not sampled."""
        if (mark := _mark(*name)) >= self._threshold:
            return None
        sampled = (each for each in self._miniatures if mark < each.threshold)
        return [each for each in sampled if each.simulation.use(name, self._time())]

    def _put(
        self,
        miniature: Miniature,
        collection: Collection,
        key: str,
        copy: Copy,
        fresh_until: float,
        now: float,
    ) -> None:
        end = self._freshness.usable_until(copy.entry, fresh_until)
        miniature.simulation.put(Outline(collection, key, _size(copy), fresh_until, end), now)
        self._replaced += 1
        if self._replaced >= self._turnover:
            self._unsettle()

    def remove(self, names: Iterable[QualifiedKey]) -> None:
        """Note copies that end."""
        threshold = self._threshold
        if not threshold:
            return
        for name in names:
            if (mark := _mark(*name)) < threshold:
                for miniature in self._miniatures:
                    if mark < miniature.threshold:
                        miniature.simulation.remove(name)

    def drop(self, collection: Collection, key_range: KeyRange = _ALL_KEYS) -> None:
        """Note that the copies of a range end."""
        for miniature in self._miniatures:
            miniature.simulation.drop(collection, key_range)

    def drop_all(self) -> None:
        """Note that all copies end."""
        for miniature in self._miniatures:
            miniature.simulation.drop_all()

    # -- periods -----------------------------------------------------------------------

    def _begin(self, limits: Limits) -> None:
        """Begin to simulate, once it is known how many entries the tier can have."""
        entries = self._expected(limits)
        if entries is None:
            return
        self._entries = entries
        self._miniatures = tuple(Miniature(factor, limits, entries) for factor in _FACTORS)
        self._threshold = max(each.threshold for each in self._miniatures)
        self._turnover = max(1, round(min(ENTRIES, entries * min(_FACTORS)) / 2))
        self._missed.clear()
        self._start = self._middle = self._now()

    def _expected(self, limits: Limits) -> float | None:
        """Return how many entries the tier can have; None while that is not known."""
        most = inf if limits.max_entries is None else limits.max_entries
        if limits.max_bytes is not None:
            if self._weighed < _WEIGHED:
                return None
            most = min(most, limits.max_bytes * self._weighed / max(1, self._weight))
        return max(1.0, most)

    def _unsettle(self) -> None:
        """Have the next hit of each sampled key noted; end a period that is over."""
        for copy in self._settled:
            force_setattr(copy, "direct_until", -inf)
        self._settled.clear()
        self._replaced = 0
        now, middle = self._now(), self._middle
        if self._period_left(now):
            return
        # After a new beginning, the simulations are filled for one period before any counts.
        self._start, self._middle = middle if self._start is not None else now, now
        limits = self._limits
        if limits is not None and limits.max_bytes is not None:
            entries = self._expected(limits) or self._entries
            self._weight //= 2
            self._weighed //= 2
            if not self._entries / 2 <= entries <= self._entries * 2:
                self._begin(limits)
                self._start = None

    def _period_left(self, now: Moment) -> int:
        """Return how many reads the period lacks."""
        middle = self._middle
        reads = now.hits + now.misses - middle.hits - middle.misses
        return max(0, ceil(max(_LEAST_PERIOD, _PERIOD * self._used)) - reads)

    @property
    def _used(self) -> float:
        """How many entries the tier has had at most."""
        return min(self._entries, self._counts.fills)

    def _now(self) -> Moment:
        counts = self._counts
        return Moment(
            self._time(),
            counts.near_hits + counts.negative_hits + counts.stale_served,
            counts.misses,
            tuple(each.counted for each in self._miniatures),
        )

    # -- what is told ------------------------------------------------------------------

    def advice(self) -> Advice | None:
        """Return the hit rates, or None while too little is known. From any thread."""
        known = self._known()
        return known if isinstance(known, Advice) else None

    def _known(self) -> Advice | int | None:
        """Return the hit rates, or how many reads they need at least; None if never known."""
        start, now, miniatures = self._start, self._now(), self._miniatures
        limits = self._limits
        if limits is None:
            return None
        if start is None:
            return _LEAST_READS + (self._period_left(now) if self._threshold else 0)
        hits, misses = now.hits - start.hits, now.misses - start.misses
        reads = hits + misses
        least = float(max(_LEAST_READS, _LEAST_READS_PER_ENTRY * self._used))
        if reads < least:
            return ceil(least) - reads
        sizes = []
        for miniature, before, after in zip(miniatures, start.simulated, now.simulated):
            simulated, real, apart = (late - early for early, late in zip(before, after))
            sampled = miniature.share * reads
            # Of further reads, as large a share will be apart.
            least = max(least, apart / sampled / _LARGEST_ERROR**2 / miniature.share)
            # The sample has some more or fewer of the misses than its share. The simulation has
            # missed too many or too few as well, in proportion to what it misses at all.
            slope = min((simulated + 1) / (real + 1), _STEEPEST)
            rate = simulated / sampled + slope * (misses / reads - real / sampled)
            sizes.append(
                SizeAdvice(
                    miniature.factor,
                    _scaled(limits.max_entries, miniature.factor),
                    _scaled(limits.max_bytes, miniature.factor),
                    min(1.0, max(0.0, 1 - rate)),
                    miniature.share,
                )
            )
        if reads < least:
            return ceil(least) - reads
        return Advice(start.time, reads, hits / reads, tuple(sizes))

    @property
    def curve(self) -> dict[str, float] | None:
        """The hit rates by size, with that of the size there is; None while they are unknown."""
        advice = self.advice()
        if advice is None:
            return None
        half, *larger = ((each.label, each.hit_rate) for each in advice.sizes)
        return dict((half, ("1", advice.hit_rate), *larger))

    @property
    def reads_missing(self) -> int | None:
        """Reads needed at least until the hit rates are known; None if they never are."""
        known = self._known()
        return 0 if isinstance(known, Advice) else known

    def notes(self) -> Iterator[str]:
        """Yield the line of `explain()` about the hit rates of other sizes, once keys were read."""
        known, now = self._known(), self._now()
        if isinstance(known, Advice):
            yield str(known)
        elif known is not None and now.hits + now.misses:
            yield f"hit rates of other sizes are known after {known:,} more reads, at least"


def _mark(collection: Collection, key: str) -> int:
    """Return 32 bits of a hash of a name, the same in every process."""
    checksum = crc32(key.encode(), 0 if collection is None else crc32(collection.encode()))
    # A checksum is linear, so its bits alone would choose among similar keys by a pattern. This
    # is multiplicative hashing (Knuth, The Art of Computer Programming, volume 3, 6.4).
    return checksum * 0x9E3779B1 & _32_BITS


def _size(copy: Copy) -> int:
    return len(copy.body) + len(copy.codec)


def _scaled(limit: int | None, factor: float) -> int | None:
    return None if limit is None else max(1, round(limit * factor))
