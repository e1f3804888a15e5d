"""The mode `writes="refuse"` of a `Fallback`, and the interface of all modes.

Each mode adds to the one before: `copies`, then `journaled`.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core.entry import Entry
from kvwrap.core.figures import Measured
from kvwrap.core.part import Passage
from kvwrap.core.primitives import Collection, Expected
from kvwrap.layers.fallback.failover import Failover
from kvwrap.layers.fallback.snapshot import FallbackSnapshot


class RefuseWrites(Failover):
    """`writes="refuse"`: only the inner store is written to; in an outage writes raise."""

    passage: Passage = Passage(
        read="goes to the fallback when the backend fails",
        write="goes to the backend alone; while that is down, it is refused",
        inner="backend",
        second=Passage(
            read="comes here while the backend is down",
            write="does not come here: something else keeps this store up to date",
        ),
    )
    """What calls do in the layer, for drawings."""

    @property
    def idle(self) -> bool:
        """True while nothing is in progress."""
        return True

    def snapshot(self) -> FallbackSnapshot:
        """Return the current state and counts."""
        return FallbackSnapshot(
            self._guard.state, self._guard.opened, self.fallback_reads, copy_failures=0
        )

    def measured(self) -> tuple[Measured, ...]:
        """Return what has the figures of the mode."""
        return (self.snapshot(), self._guard.breaker)

    async def open(self) -> None:
        """Open what the mode needs besides the two stores."""

    async def close(self) -> None:
        """Close what `open` opened."""

    async def flush(self) -> None:
        """Send the changes that were accepted in an outage."""

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        return await self._guard.call(self._inner.write, collection, keys, entries, expected)

    async def remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        return await self._guard.call(self._inner.remove, collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._guard.call(self._inner.touch, collection, keys, expires)

    async def drop(self, collection: Collection) -> bool:
        return await self._guard.call(self._inner.drop, collection)

    async def drop_all(self) -> bool:
        return await self._guard.call(self._inner.drop_all)

    async def sweep(self) -> None:
        await self._guard.call(self._inner.sweep)
