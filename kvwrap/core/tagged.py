"""The tags of values that are computed when they are missing."""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core.computations import Computation
from kvwrap.core.lock import LockMethods
from kvwrap.core.options import ComputeOptions
from kvwrap.core.outcomes import Product
from kvwrap.core.tagging import with_snapshot
from kvwrap.errors import KvwrapError


class TaggedMethods(LockMethods):
    """What `get_or_put` does for the layer that keeps tags, if the stack has it."""

    @property
    def _tag_changes(self) -> int:
        """What is another number once a tag has changed.

        Then those who wait for a factory that began before must not get its value.
        """
        return 0 if self._tagging is None else self._tagging.changes

    def _may_join(self, began: float, came: float) -> bool:
        """Return True if who came then may get the value of a computation that began before."""
        return self._tagging is None or self._tagging.may_join(began, came)

    async def _seen_tags(self, options: ComputeOptions) -> bytes | None:
        """Return what the tags are before a factory runs; `None` if that cannot be read."""
        assert self._tagging is not None
        try:
            if callable(options.tags):
                return await self._tagging.moment()
            return await self._tagging.snapshot_of(options.tags or ())
        except KvwrapError as error:
            if not options.computes_on_error:
                raise
            self._note_failure("read", error)
            return None

    async def _tag_results(
        self,
        products: Sequence[Product],
        seen: bytes | None,
        options: ComputeOptions,
        computations: Sequence[Computation],
    ) -> list[Product]:
        """Return products whose entries have their tags.

        They have no entry if the tags cannot be read. If a tag changed while the factory ran, the
        computations count as overtaken.
        """
        assert self._tagging is not None
        kept = [product for product in products if product.entry is not None]
        snapshots = None if seen is None else [seen] * len(kept)
        if seen is not None and kept and callable(options.tags):
            try:
                tags = [product.tags for product in kept]
                snapshots = await self._tagging.snapshots_since(tags, seen)
            except KvwrapError as error:
                if not options.computes_on_error:
                    raise
                self._note_failure("read", error)
            else:
                if snapshots is None:
                    for computation in computations:
                        computation.is_overtaken = True
                    return list(products)
        if snapshots is None:
            return [product._replace(entry=None) for product in products]
        following = iter(snapshots)
        return [
            product
            if product.entry is None
            else product._replace(entry=with_snapshot(product.entry, next(following)))
            for product in products
        ]

    def _note_failure(self, operation: str, error: KvwrapError) -> None:
        self._computing.counts.store_failures += 1
        self._computing.warn(
            operation,
            "%s: a value was computed without caching it, because the %s failed: %s",
            self.name,
            operation,
            error,
        )
