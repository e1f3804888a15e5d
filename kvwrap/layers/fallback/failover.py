"""Reads from one store, or from another while the first is unavailable."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

import msgspec

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, KeyRange, Origin, Page, Primitives
from kvwrap.errors import StoreUnavailable
from kvwrap.layers.fallback.switches import Switches
from kvwrap.layers.shared.guard import Guard
from kvwrap.layers.shared.watching import subscribe_all

T = TypeVar("T")
P = ParamSpec("P")

_LISTING = {Capability.KEYS, Capability.RANGE, Capability.COLLECTIONS}


class _Cursor(msgspec.Struct, frozen=True):
    """The cursor of one of the two stores, and whether it is the other store's."""

    of_other: bool
    cursor: object


class Failover:
    """Reads from the inner store, and from the other one while it is unavailable.

    An enumeration that began in one store never continues in the other.

    Args:
        inner: The store to read.
        guard: The circuit breaker around `inner`.
        other: The store to read instead. It is enumerated only if it has every capability of
            `inner` for enumerations.
        owner: The name of the layer, for errors.

    Attributes:
        fallback_reads: Number of keys, pages, lists of names and counts of keys that the other
            store answered.
    """

    def __init__(self, inner: Primitives, guard: Guard, other: Primitives, *, owner: str) -> None:
        self.fallback_reads = 0
        self._inner = inner
        self._guard = guard
        self._other = other
        self._owner = owner
        self._switches = Switches(partial(guard.call, inner.ping))

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of the layer and everything under it."""
        inside = self._inner.capabilities
        # What readers see in an outage changes with the other store.
        return inside - ({Capability.WATCH} - self._other.capabilities)

    async def subscribe(self, scope: Scope, listener: Listener, clock: Clock) -> Subscription:
        """Tell what changes in either store; one of them may be unavailable at first.

        `LOST` is told when reads change to the other store, and back.
        """
        stores = [(self._inner, listener), (self._other, listener)]
        merged = await subscribe_all(stores, scope, clock, needed=1)
        return self._switches.watch(merged, listener, clock)

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        """Return where the entry may be in either store."""
        return self._inner.trace(collection, key) + self._other.trace(collection, key)

    @property
    def can_list_other(self) -> bool:
        """True if the other store can be enumerated instead of the inner one."""
        return _LISTING & self._inner.capabilities <= self._other.capabilities

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """Read these keys from one of the two stores.

        Raises:
            StoreUnavailable: Neither store answers.
        """
        try:
            return await self._from_inner(self._inner.read, collection, keys)
        except StoreUnavailable as outage:
            try:
                entries = await self.read_other(collection, keys)
            except StoreUnavailable as error:
                raise StoreUnavailable(
                    "neither the inner store nor the fallback can answer: "
                    f"{outage.message}; {error.message}",
                    store=self._owner,
                ) from error
        self.fallback_reads += len(keys)
        self._switches.note(reads_other=True)
        return entries

    async def _from_inner(
        self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read something from the inner store."""
        found = await self._guard.call(call, *args, **kwargs)
        self._switches.note(reads_other=False)
        return found

    async def read_other(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """Read these keys from the other store."""
        return await self._other.read(collection, keys)

    async def list_keys(
        self, collection: Collection, key_range: KeyRange, cursor: object, *, of_other: bool = False
    ) -> Page:
        """Return a page of keys; with `of_other`, begin an enumeration in the other store."""
        assert cursor is None or isinstance(cursor, _Cursor)
        store_cursor = None
        if cursor is not None:
            of_other, store_cursor = cursor.of_other, cursor.cursor
        if not of_other:
            try:
                page = await self._from_inner(
                    self._inner.list_keys, collection, key_range, store_cursor
                )
                return _with_cursor(page, of_other=False)
            except StoreUnavailable:
                if cursor is not None or not self.can_list_other:
                    raise
                self._switches.note(reads_other=True)
        page = await self._other.list_keys(collection, key_range, store_cursor)
        self.fallback_reads += 1
        return _with_cursor(page, of_other=True)

    async def list_collections(self, *, of_other: bool = False) -> list[Collection]:
        """Return the collections; with `of_other`, ask only the other store."""
        if not of_other:
            try:
                return await self._from_inner(self._inner.list_collections)
            except StoreUnavailable:
                if not self.can_list_other:
                    raise
                self._switches.note(reads_other=True)
        self.fallback_reads += 1
        return await self._other.list_collections()

    async def count_range(
        self, collection: Collection, key_range: KeyRange, *, of_other: bool = False
    ) -> int:
        """Return the number of keys; with `of_other`, ask only the other store."""
        if not of_other:
            try:
                return await self._from_inner(self._inner.count_range, collection, key_range)
            except StoreUnavailable:
                if not self.can_list_other:
                    raise
                self._switches.note(reads_other=True)
        self.fallback_reads += 1
        return await self._other.count_range(collection, key_range)


def _with_cursor(page: Page, *, of_other: bool) -> Page:
    return Page(page.keys, None if page.cursor is None else _Cursor(of_other, page.cursor))
