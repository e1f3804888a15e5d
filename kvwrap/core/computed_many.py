"""Values of several keys that are computed together when they are missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from kvwrap.core.across_many import AcrossManyMethods
from kvwrap.core.cached import Caching, without_parentheses
from kvwrap.core.cached_many import CachedBatch, Function, cached_many
from kvwrap.core.computations import Computation
from kvwrap.core.computed import Across, OnFailure, TTLOf
from kvwrap.core.entry import Entry, live
from kvwrap.core.locks import Hold
from kvwrap.core.options import ComputeOptions, checked_options, not_a_factory
from kvwrap.core.outcomes import Failed, Missing, Outcome, Product, write_results
from kvwrap.core.primitives import Collection
from kvwrap.core.tagging import TagsOf
from kvwrap.core.ttl import TTL
from kvwrap.core.turns import Turns, turn
from kvwrap.core.validation import checked_keys
from kvwrap.errors import ConfigurationError, KvwrapError

FactoryOfMany = Callable[[list[str]], Awaitable[Mapping[str, Any]] | Mapping[str, Any]]
"""A function of the missing keys that returns their values by key."""


class ComputedManyMethods(AcrossManyMethods):
    """`get_or_put_many` and `cached_many`."""

    async def get_or_put_many(
        self,
        keys: Sequence[str],
        factory: FactoryOfMany,
        *,
        collection: str | None = None,
        ttl: TTLOf | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "raise",
        on_invalid: OnFailure = "raise",
        stale_ttl: TTL | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> list[Any]:
        """Return the values in the order of the keys; those that are missing are computed.

        All keys are read at once, the factory is called once with those that are missing, and its
        results are put at once. It shares the single flight of `get_or_put`: what another caller
        computes is waited for, and callers that want one of these keys meanwhile wait for this one.

        Args:
            keys: The keys.
            factory: A function of the list of missing keys that returns a mapping with their
                values. It may be async. A key that it leaves out has no value: `None` is returned
                for it, and nothing is put.
            collection: The collection of the keys.
            ttl: As for `get_or_put`; a function is called for each result.
            keep: As for `get_or_put`, for each result.
            on_error: As for `get_or_put`.
            on_invalid: As for `get_or_put`.
            stale_ttl: As for `get_or_put`. If the factory raises, all missing keys must have a
                stale value; otherwise the exception is raised.
            tags: As for `get_or_put`; a function is called for each result.
            across: As for `get_or_put`. The factory is called with the keys that no other process
                computes, and again with those that another one did not store.

        Raises:
            InvalidBatch: `keys` is not a sequence of keys.
            Deadlock: The factory needs one of the values that it computes.
            ConfigurationError: The factory did not return a mapping, or an argument is invalid.
        """
        keys, name = checked_keys(keys), self._collection_of(collection)
        options = checked_options(ttl, keep, on_error, on_invalid, stale_ttl, None, tags, across)
        self._allow(options)
        values = await self._get_or_compute_many(keys, name, factory, options)
        return [values.get(key) for key in keys]

    def cached_many(
        self,
        function: None = None,
        /,
        *,
        ttl: TTLOf | None = None,
        collection: str | None = None,
        key: Callable[..., str] | None = None,
        model: type[Any] | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "compute",
        on_invalid: OnFailure = "compute",
        stale_ttl: TTL | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> Callable[[Function], CachedBatch]:
        """Return a decorator that caches the results of an async function of many items.

        The function's first argument is a list of items, and it returns a mapping from items to
        results. Each result is cached by itself, under a key of the item and the other arguments.
        A call reads all of them at once, and calls the function once with the items whose results
        are missing. It returns a mapping without the items that the function left out.

        The arguments are those of `cached`. `key` gets one item and the other arguments, and so do
        the methods `key` and `invalidate` of the decorated function.

        Raises:
            ConfigurationError: As for `cached`.
            TypeError: The parentheses are missing.
        """
        if function is not None:
            raise without_parentheses(function)
        caching = Caching(
            self,
            ttl=ttl,
            collection=collection,
            key=key,
            model=model,
            keep=keep,
            on_error=on_error,
            on_invalid=on_invalid,
            stale_ttl=stale_ttl,
            soft_timeout=None,
            tags=tags,
            across=across,
        )
        return cached_many(caching, self._get_or_compute_many, self.delete)

    async def _get_or_compute_many(
        self,
        keys: Iterable[str],
        collection: Collection,
        factory: FactoryOfMany,
        options: ComputeOptions,
    ) -> dict[str, Any]:
        """Return the values by key, with other arguments that have been checked."""
        if not callable(factory):
            raise not_a_factory(factory)
        values: dict[str, Any] = {}
        missing = await self._find_many(collection, list(dict.fromkeys(keys)), options, values)
        if missing:
            await self._compute_many(collection, factory, options, missing, values)
        return values

    # -- computing ---------------------------------------------------------------------

    async def _compute_many(
        self,
        collection: Collection,
        factory: FactoryOfMany,
        options: ComputeOptions,
        missing: dict[str, Missing],
        values: dict[str, Any],
    ) -> None:
        """Compute missing values when it is this call's turn, and store and add them."""
        computing = self._computing
        deadlock = partial(self._deadlock, collection, min(missing))
        names = [(collection, key) for key in sorted(missing)]
        async with self._locks.hold_each(names, deadlock=deadlock) as holds:
            has_waited = any(hold.has_waited for hold in holds.values())
            if has_waited or any(each.ended != computing.ended for each in missing.values()):
                missing = await self._find_many(collection, list(missing), options, values)
            if not missing:
                return
            computations = {key: computing.begin((collection, key)) for key in missing}
            held = {key: holds[collection, key] for key in missing}
            for hold in held.values():
                hold.shares_errors = not self._is_contextual
            began, changes = self.clock.monotonic(), self._tag_changes
            try:
                outcomes: Mapping[str, Product | Failed]
                if options.across_processes:
                    outcomes = await self._produce_in_turns(
                        collection, factory, options, computations, values
                    )
                else:
                    outcomes = await self._produce_many(
                        collection, factory, options, missing, computations
                    )
            finally:
                for key, computation in computations.items():
                    computing.end((collection, key), computation)
                    if computation.is_overtaken:
                        held[key].shares_errors = False
            for key, outcome in outcomes.items():
                values[key] = self._value_of(outcome, collection, key, options)
                if changes == self._tag_changes:
                    self._share(held[key], Outcome(outcome, began), computations[key])

    def _share(self, hold: Hold, outcome: Outcome, computation: Computation) -> None:
        """Give an outcome to those who wait for its key, unless the key was changed."""
        if not computation.is_overtaken and not self._is_contextual:
            hold.share(outcome)

    async def _produce_in_turns(
        self,
        collection: Collection,
        factory: FactoryOfMany,
        options: ComputeOptions,
        computations: Mapping[str, Computation],
        values: dict[str, Any],
    ) -> dict[str, Product | Failed]:
        """Do what `_produce_many` does, and add the values that other processes have stored."""
        outcomes: dict[str, Product | Failed] = {}
        left = dict(computations)
        while left:
            async with self._turns_of_process(left, collection, options, values) as missing:
                if missing:
                    outcomes |= await self._produce_many(
                        collection, factory, options, missing, computations
                    )
            left = {key: left[key] for key in left if key not in missing and key not in values}
        return outcomes

    async def _produce_many(
        self,
        collection: Collection,
        factory: FactoryOfMany,
        options: ComputeOptions,
        missing: Mapping[str, Missing],
        computations: Mapping[str, Computation],
    ) -> Mapping[str, Product | Failed]:
        """Call the factory, and store what it returned. Returns the outcomes by key."""
        counts = self._computing.counts
        seen = None if self._tagging is None else await self._seen_tags(options)
        try:
            result = factory(list(missing))
            results = await result if isinstance(result, Awaitable) else result
        except Exception as error:  # whatever it is, callers get it, or stale values
            counts.failed += 1
            return self._stale_values(error, missing, computations)
        if not isinstance(results, Mapping):
            raise ConfigurationError(
                "the factory must return a mapping from keys to values, such as a dict; got "
                f"{type(results).__name__}"
            )
        counts.computed += 1
        turns = Turns()
        products: dict[str, Product] = {}
        for key in missing:
            if key in results:
                product = self._product(results[key], collection, key, options)
                products[key] = product
                if turns.are_due(0 if product.entry is None else len(product.entry.body)):
                    await turn()
        if self._tagging is not None:
            tagged = await self._tag_results(
                list(products.values()), seen, options, [computations[key] for key in products]
            )
            products = dict(zip(products, tagged, strict=True))
        await self._store_many(collection, products, options, missing, computations)
        return products

    def _stale_values(
        self,
        error: Exception,
        missing: Mapping[str, Missing],
        computations: Mapping[str, Computation],
    ) -> dict[str, Failed]:
        """Return the stale values after the factory failed; raises its error without them."""
        now = self.clock.time()
        failures = {}
        for key, each in missing.items():
            stale = live(each.stale, now)
            if stale is None or computations[key].is_overtaken:
                raise error
            failures[key] = Failed(error, stale)
        self._computing.warn(
            "factory",
            "%s: a factory failed, and callers with `stale_ttl` get the values from before: %s",
            self.name,
            type(error).__name__,
        )
        return failures

    async def _store_many(
        self,
        collection: Collection,
        products: Mapping[str, Product],
        options: ComputeOptions,
        missing: Mapping[str, Missing],
        computations: Mapping[str, Computation],
    ) -> None:
        """Store products at once, except those whose keys were changed meanwhile."""
        counts = self._computing.counts
        entries: dict[str, Entry] = {}
        for key, product in products.items():
            if product.refusal is not None:
                self._note_failure("write", product.refusal)
            elif product.entry is None:
                counts.not_kept += 1
            elif computations[key].is_overtaken:
                counts.overtaken += 1
            else:
                entries[key] = product.entry
        if not entries:
            return
        expected = [missing[key].expected for key in entries] if self._compares else None
        for key in entries:
            computations[key].begin_write()
        try:
            written = await write_results(
                self, collection, entries, expected, needs_condition=not self._condition_costs
            )
        except KvwrapError as error:
            if not options.computes_on_error:
                raise
            self._note_failure("write", error)
            return
        finally:
            for key in entries:
                computations[key].end_write()
        for key, is_written in zip(entries, written, strict=True):
            if is_written:
                counts.stored += 1
            else:  # by another process
                counts.overtaken += 1
                computations[key].is_overtaken = True
