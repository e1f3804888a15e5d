"""A second store that is kept up to date as well as it can be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec

from kvwrap.core.batch import indexes_of, take
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.errors import KvwrapError
from kvwrap.layers.shared.guard import Guard

P = ParamSpec("P")

_log = logging.getLogger("kvwrap.copies")


class Mirror:
    """Does to a store what has been done to another; what it misses is counted and logged.

    Attributes:
        store: The store that gets the copies.
        missed: How many copies it did not take.
    """

    def __init__(self, store: Primitives, guard: Guard, *, owner: str) -> None:
        self.store = store
        self.copy_failures = 0
        self._guard = guard
        self._owner = owner

    async def do(
        self, call: Callable[P, Coroutine[Any, Any, Any]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call a primitive of the store; only what is no error of kvwrap's comes out."""
        try:
            await self._guard.call(call, *args, **kwargs)
        except KvwrapError as error:
            self.copy_failures += 1
            _log.warning("%s: the fallback missed a write: %s", self._owner, type(error).__name__)

    async def put(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        done: Sequence[bool],
    ) -> None:
        """Let the store have the entries that are done, and nothing where there is `None`."""
        changed = {key: entry for key, entry, was in zip(keys, entries, done, strict=True) if was}
        kept = {key: entry for key, entry in changed.items() if entry is not None}
        gone = [key for key, entry in changed.items() if entry is None]
        if kept:
            await self.do(self.store.write, collection, list(kept), list(kept.values()), None)
        if gone:
            await self.do(self.store.remove, collection, gone, None)

    async def touch(
        self,
        collection: Collection,
        keys: Sequence[str],
        expires: Sequence[float | None],
        done: Sequence[bool],
    ) -> None:
        """Let the store give these ends to the entries that are done."""
        places = indexes_of(done)
        if places:
            names, ends = take(keys, places), take(expires, places)
            await self.do(self.store.touch, collection, names, ends)
