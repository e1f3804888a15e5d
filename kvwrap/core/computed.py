"""The fourth part of the store interface: values that are computed when they are missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Literal

import msgspec

from kvwrap.core.across import AcrossMethods
from kvwrap.core.computations import Computation, ComputationCounts
from kvwrap.core.entry import Entry, live
from kvwrap.core.locks import Hold
from kvwrap.core.options import ComputeOptions, checked_options, not_a_factory
from kvwrap.core.outcomes import Failed, Missing, Outcome, Product, write_result
from kvwrap.core.part import Part
from kvwrap.core.peeking import begin_peeking, end_peeking
from kvwrap.core.primitives import Collection, QualifiedKey
from kvwrap.core.refreshes import Refreshes
from kvwrap.core.reserved import RESERVED, RESERVED_END
from kvwrap.core.stale import with_stale_part
from kvwrap.core.tagging import TagsOf, checked_tags, without_tagging
from kvwrap.core.ttl import TTL, expiry
from kvwrap.core.validation import checked_key
from kvwrap.errors import ConfigurationError, KvwrapError

TTLOf = TTL | Callable[[Any], TTL | None]
"""A ttl, or a function that returns the ttl of a value."""

OnFailure = Literal["raise", "compute"]
Across = Literal["processes"]


class ComputedMethods(AcrossMethods):
    """`get_or_put`, and what cached functions and the other views need for it."""

    _peeks = False  # True if a layer may distinguish reads that use an entry from those that do not
    _condition_costs = False  # True if conditional writes need more of the backend than others
    _refreshes: Refreshes

    @property
    def base(self) -> Part:
        """The backend under all layers."""
        raise NotImplementedError

    async def get_or_put(
        self,
        key: str,
        factory: Callable[[], Awaitable[Any] | Any],
        *,
        collection: str | None = None,
        ttl: TTLOf | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "raise",
        on_invalid: OnFailure = "raise",
        stale_ttl: TTL | None = None,
        soft_timeout: float | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> Any:
        """Return the value, or put the factory's result for `ttl` seconds and return that.

        The factory may be async. One call runs at a time for a key in this process (single
        flight). Those that wait for it get its result or its exception. If its caller is
        cancelled, the next one that waits calls its own factory.

        A change of the key through this store object while the factory runs wins: the result is
        returned to its own caller and not stored. With `Capability.COMPARE_AND_PUT`, a value that
        another process puts meanwhile wins too. A hit does not renew an entry under `SlidingTTL`.

        Args:
            key: The key.
            factory: A function without arguments that returns the value.
            collection: The collection of the key.
            ttl: The time to live of the result, in seconds or as a timedelta, or a function that
                returns it for the result; `None` is no expiry.
            keep: A function that returns True for a result to store. One that is not stored is
                returned all the same. By default every result is stored.
            on_error: What to do if the store fails or refuses the value: "raise" its error, or
                "compute" the value without storing it. Then the failure is counted in
                `computations`, and logged once a minute.
            on_invalid: What to do with a stored value that cannot be read (`CorruptEntry`,
                `DecryptionError`, `InvalidValue`): "raise" the error, or "compute" the value and
                replace it, which is counted and logged as failures are.
            stale_ttl: Seconds, or a timedelta, for which the value is kept after its ttl, and is
                returned if the factory raises (stale-if-error). For all other methods, and for
                calls without `stale_ttl`, it is missing then. Needs `ttl`. The guide "Cache a
                function" says what a process observes that has never seen such a value.
            soft_timeout: Seconds for which a caller waits for the factory if there is such a
                value. Then that value is returned (stale-while-revalidate), and the factory
                finishes in the background. Needs `stale_ttl`.
            tags: Tags of the result, as for `put`, or a function that returns them for the result.
                If one is invalidated while the factory runs, the result is not served later.
            across: "processes" to let one call run at a time in all processes. The others wait,
                and compute if the result was not stored, or nothing is heard of the process that
                computes for 5 s. This saves work and promises nothing: two may compute after a
                pause, or an outage of the store, whose errors while waiting count for `on_error`.

        Raises:
            UnsupportedOperation: There are `tags`, and no layer `Tags`; or `across`, and the store
                cannot compare versions, or is not shared by processes.
            Deadlock: The factory needs the value that it computes, itself or through another
                factory, so neither would end. What the factory begins counts as part of it.
            InvalidTTL: `ttl` or `stale_ttl` is invalid, or `ttl` returned an invalid one.
            ConfigurationError: Another argument is invalid, or `keep` did not return a bool.
        """
        if type(key) is not str or not key or not key.isascii() or RESERVED <= key < RESERVED_END:
            key = checked_key(key)
        collection = self._collection_of(collection)
        if (
            keep is None
            and on_error == "raise"
            and on_invalid == "raise"
            and stale_ttl is None
            and soft_timeout is None
            and tags is None
            and across is None
            and not callable(ttl)
        ):
            expiry(0.0, ttl)
            options = ComputeOptions(ttl)
        else:
            options = checked_options(
                ttl, keep, on_error, on_invalid, stale_ttl, soft_timeout, tags, across
            )
            self._allow(options)
        return await self._get_or_compute(key, collection, factory, options)

    @property
    def computations(self) -> ComputationCounts:
        """What `get_or_put` and cached functions of this store object have done so far."""
        return msgspec.structs.replace(self._computing.counts)

    def _allow(self, options: ComputeOptions) -> None:
        """Prepare for values with these options; raises `ConfigurationError` if that is unsafe."""
        if options.tags is not None and self._tagging is None:
            raise without_tagging(self.name)
        if options.across_processes:
            self._suitability.check_computation()
        if options.stale_ttl is None:
            return
        if options.ttl is None and not any("clamps_ttl" in part.traits for part in self.parts):
            raise ConfigurationError(
                "`stale_ttl` needs `ttl`: a result without expiry never becomes stale",
                store=self.name,
            )
        if "raw" in self.base.traits:
            raise ConfigurationError(
                "`stale_ttl` needs a store whose entries have kvwrap's header, which says how long "
                "a value is kept; with raw=True, other programs read the values without one: leave "
                "out `stale_ttl`, or open the store without raw=True",
                store=self.name,
            )
        self._keeps_stale = True

    async def _get_or_compute(
        self,
        key: str,
        collection: Collection,
        factory: Callable[[], Awaitable[Any] | Any],
        options: ComputeOptions,
    ) -> Any:
        """Do what `get_or_put` does, with other arguments that have been checked."""
        if not callable(factory):
            raise not_a_factory(factory)
        ended = self._computing.ended
        entry = None
        try:
            if self._peeks:
                token = begin_peeking(True)  # inline, since every hit pays for it
                try:
                    entry = (await self.read(collection, (key,)))[0]
                finally:
                    end_peeking(token)
            else:
                entry = (await self.read(collection, (key,)))[0]
            if entry is not None and (entry.codec == self._tag or not self._is_stale(entry)):
                value = self._to_value(entry, collection, key)
                return value if options.load is None else options.load(value, key, collection)
            missing = Missing(ended) if entry is None else Missing(ended, entry.version, entry)
        except KvwrapError as error:
            missing = self._missing_after(error, entry, ended, options)
        produce = partial(self._produce, factory, collection, key, options)
        outcome = await self._outcome(collection, key, produce, options, missing)
        return self._value_of(outcome, collection, key, options)

    async def _produce(
        self,
        factory: Callable[[], Awaitable[Any] | Any],
        collection: Collection,
        key: str,
        options: ComputeOptions,
    ) -> Product | Failed:
        """Call the factory, and return what becomes of it."""
        try:
            result = factory()
            value = await result if isinstance(result, Awaitable) else result
        except Exception as error:  # whatever it is, callers get it, or a stale value
            return Failed(error)
        return self._product(value, collection, key, options)

    def _value_of(
        self,
        outcome: Entry | Product | Failed,
        collection: Collection,
        key: str,
        options: ComputeOptions,
    ) -> Any:
        """Return the value of an outcome; each caller gets its own, if the result is an entry."""
        if isinstance(outcome, Failed):
            if outcome.stale is None or options.stale_ttl is None:
                raise outcome.error
            outcome = outcome.stale
        if isinstance(outcome, Entry):
            if outcome.codec != self._tag and self._is_stale(outcome):
                self._computing.counts.stale_served += 1
            return self._load(outcome, collection, key, options)
        if outcome.entry is None:
            return outcome.value
        return self._load(outcome.entry, collection, key, options)

    def _product(
        self, value: Any, collection: Collection, key: str, options: ComputeOptions
    ) -> Product:
        """Return the product of a factory's result."""
        if options.keep is not None and not options.keeps(value):
            return Product(value)
        now = self.clock.time()
        ttl = options.ttl(value) if callable(options.ttl) else options.ttl
        expires_at = expiry(now, ttl)
        plain = value if options.dump is None else options.dump(value, key, collection)
        try:
            entry = self._to_entry(plain, expires_at, now, collection, key)
        except KvwrapError as error:
            if not options.computes_on_error:
                raise
            return Product(value, refusal=error)
        if options.stale_ttl is not None:
            entry = with_stale_part(entry, options.stale_ttl)
        tags = checked_tags(options.tags(value)) if callable(options.tags) else ()
        return Product(value, entry, tags=tags)

    def _outcome(
        self,
        collection: Collection,
        key: str,
        produce: Callable[[], Awaitable[Product | Failed]],
        options: ComputeOptions,
        missing: Missing,
    ) -> Coroutine[Any, Any, Entry | Product | Failed]:
        """Compute a missing value, or return the stale entry if that fails or takes too long."""
        stale, seconds = missing.stale, options.soft_timeout
        compute = partial(self._compute, collection, key, produce, options, missing)
        if stale is None or seconds is None:
            return compute()
        return self._outcome_by(seconds, stale, (collection, key), compute)

    async def _outcome_by(
        self,
        seconds: float,
        stale: Entry,
        name: QualifiedKey,
        compute: Callable[[], Coroutine[Any, Any, Entry | Product | Failed]],
    ) -> Entry | Product | Failed:
        """Compute a value in the background, or return the stale entry if that takes too long."""
        refresh = self._refreshes.begin(
            name, compute, self._tag_changes, None if self._is_contextual else self._may_join
        )
        if not await refresh.ends_by(seconds):
            computation = self._computing.get(name)
            is_changed = computation is not None and computation.is_overtaken
            if not is_changed and live(stale, self.clock.time()) is not None:
                return stale
        outcome: Entry | Product | Failed = await refresh.outcome()
        return outcome

    async def _compute(
        self,
        collection: Collection,
        key: str,
        produce: Callable[[], Awaitable[Product | Failed]],
        options: ComputeOptions,
        missing: Missing,
    ) -> Entry | Product | Failed:
        """Compute a missing value when it is this call's turn, and store it."""
        name, came = (collection, key), self.clock.monotonic()
        deadlock = partial(self._deadlock, collection, key)
        hold = self._locks.hold(name, shares_errors=not self._is_contextual, deadlock=deadlock)
        async with hold as shared:
            if shared is None:
                return await self._compute_now(hold, name, produce, options, missing)
            outcome: Outcome = shared.value
            if self._may_join(outcome.began, came):
                return outcome.result
        found = await self._find(collection, key, options)
        if isinstance(found, Entry):
            return found
        return await self._compute(collection, key, produce, options, found)

    async def _compute_now(
        self,
        hold: Hold,
        name: QualifiedKey,
        produce: Callable[[], Awaitable[Product | Failed]],
        options: ComputeOptions,
        missing: Missing,
    ) -> Entry | Product | Failed:
        """Compute a missing value, unless it is there by now, and store and share it."""
        computing = self._computing
        if hold.has_waited or computing.ended != missing.ended:
            found = await self._find(*name, options)
            if isinstance(found, Entry):
                return found
            missing = found
        computation = computing.begin(name)
        began, changes = self.clock.monotonic(), self._tag_changes
        result: Entry | Product | Failed
        try:
            if options.across_processes:
                result = await self._make_in_turn(computation, name, produce, options)
            else:
                result = await self._make(computation, name, produce, options, missing)
        finally:
            computing.end(name, computation)
            if computation.is_overtaken:
                hold.shares_errors = False
        is_current = not computation.is_overtaken and changes == self._tag_changes
        if is_current and not self._is_contextual:
            hold.share(Outcome(result, began))
        return result

    async def _make_in_turn(
        self,
        computation: Computation,
        name: QualifiedKey,
        produce: Callable[[], Awaitable[Product | Failed]],
        options: ComputeOptions,
    ) -> Entry | Product | Failed:
        """Do what `_make` does, or return what another process has stored."""
        async with self._turn_of_process(computation, name, options) as found:
            if isinstance(found, Entry):
                return found
            return await self._make(computation, name, produce, options, found)

    async def _make(
        self,
        computation: Computation,
        name: QualifiedKey,
        produce: Callable[[], Awaitable[Product | Failed]],
        options: ComputeOptions,
        missing: Missing,
    ) -> Product | Failed:
        """Call the factory, and store what it returns."""
        seen = None if self._tagging is None else await self._seen_tags(options)
        outcome = self._computing.judge(computation, await produce(), missing, self.name)
        if isinstance(outcome, Product):
            if self._tagging is not None:
                (outcome,) = await self._tag_results([outcome], seen, options, [computation])
            await self._store(computation, outcome, name, options, missing)
        return outcome

    async def _store(
        self,
        computation: Computation,
        product: Product,
        name: QualifiedKey,
        options: ComputeOptions,
        missing: Missing,
    ) -> None:
        """Store a product, unless its key was changed meanwhile."""
        counts = self._computing.counts
        if product.refusal is not None:
            self._note_failure("write", product.refusal)
        elif product.entry is None:
            counts.not_kept += 1
        elif computation.is_overtaken:
            counts.overtaken += 1
        else:
            computation.begin_write()
            try:
                expected = missing.expected if self._compares else None
                is_stored = await write_result(
                    self, name, product.entry, expected, needs_condition=not self._condition_costs
                )
            except KvwrapError as error:
                if not options.computes_on_error:
                    raise
                self._note_failure("write", error)
                return
            finally:
                computation.end_write()
            if is_stored:
                counts.stored += 1
            else:  # by another process
                counts.overtaken += 1
                computation.is_overtaken = True
