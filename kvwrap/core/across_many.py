"""One computation of several values in all processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from kvwrap.core.across import LEASE
from kvwrap.core.computations import Computation
from kvwrap.core.computed import ComputedMethods
from kvwrap.core.entry import Entry
from kvwrap.core.lease import COMPUTATION
from kvwrap.core.leases import Grant
from kvwrap.core.options import ComputeOptions
from kvwrap.core.outcomes import Missing
from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError


class AcrossManyMethods(ComputedMethods):
    """What `get_or_put_many` does with `across="processes"`."""

    @asynccontextmanager
    async def _turns_of_process(
        self,
        computations: Mapping[str, Computation],
        collection: Collection,
        options: ComputeOptions,
        values: dict[str, Any],
    ) -> AsyncIterator[dict[str, Missing]]:
        """Keep other processes from computing those keys in the block that no other one computes.

        Gives the block why they are missing, and adds the values of those that are not. If other
        processes compute all keys, this waits for the first of them. It waits for no key while it
        has the lease of another one, so that batches never wait for each other.

        Args:
            computations: The computations, by key. Changes overtake them once this has waited.
            collection: The collection of the keys.
            options: How the values are computed.
            values: Where to add values.
        """
        leases, grants = self._leases(COMPUTATION), dict[str, Grant]()
        try:
            try:
                grants = await leases.acquire_free(collection, list(computations), LEASE)
                missing = await self._look_many(
                    {key: computations[key] for key in grants}, collection, options, values
                )
            except KvwrapError as error:
                if not self._goes_on_after(error, options):
                    raise
                missing = await self._find_many(collection, list(computations), options, values)
            if not missing and not grants:
                key = next(iter(computations))
                grant, found = await self._wait_for_turn(
                    leases, computations[key], (collection, key), options
                )
                if grant is not None:
                    grants[key] = grant
                if isinstance(found, Entry):
                    values[key] = self._load(found, collection, key, options)
                else:
                    missing[key] = found
            yield missing
        finally:
            await leases.release_all(list(grants.values()))

    async def _look_many(
        self,
        computations: Mapping[str, Computation],
        collection: Collection,
        options: ComputeOptions,
        values: dict[str, Any],
    ) -> dict[str, Missing]:
        """Read what is stored now, past all copies: adds values, and returns what is missing."""
        keys = list(computations)
        for computation in computations.values():
            computation.is_overtaken = False  # by what this sees, and the factory will see
        await self._drop_copies(collection, keys)
        return await self._find_many(collection, keys, options, values)
