"""A second store that receives copies of writes, without failing them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec

from kvwrap.core.batch import indexes_of, take
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.core.turns import slices, turn
from kvwrap.errors import KvwrapError
from kvwrap.layers.shared.breaker import BreakerState
from kvwrap.layers.shared.guard import Guard

P = ParamSpec("P")

_log = logging.getLogger("kvwrap.fallback")


class Mirror:
    """Repeats in a store what another store has carried out; counts and logs failed copies.

    Args:
        store: The store that receives the copies.
        guard: The circuit breaker around `store`.
        owner: The name of the layer, for the log.

    Attributes:
        store: The store that receives the copies.
        copy_failures: Number of calls with copies that failed.
    """

    def __init__(self, store: Primitives, guard: Guard, *, owner: str) -> None:
        self.store = store
        self.copy_failures = 0
        self._guard = guard
        self._owner = owner

    async def call(
        self, primitive: Callable[P, Coroutine[Any, Any, Any]], *args: P.args, **kwargs: P.kwargs
    ) -> bool:
        """Call a primitive of the store. An error of kvwrap is counted and logged, not raised.

        Returns False after an error.
        """
        try:
            await self._guard.call(primitive, *args, **kwargs)
        except KvwrapError as error:
            self.copy_failures += 1
            _log.warning("%s: the fallback missed a write: %s", self._owner, type(error).__name__)
            return False
        return True

    @property
    def is_available(self) -> bool:
        """True unless the store failed repeatedly and is not called for now."""
        return self._guard.state is BreakerState.CLOSED

    async def copy(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry | None],
        succeeded: Sequence[bool],
    ) -> bool:
        """Write the entries whose write succeeded; remove the keys whose entry is `None`.

        A call has entries only or `None` only. Returns False if that failed.
        """
        written: dict[str, Entry] = {}
        removed: dict[str, None] = {}
        for part in slices(len(keys)):
            if part.start:
                await turn()
            for key, entry, done in zip(keys[part], entries[part], succeeded[part], strict=True):
                if not done:
                    continue
                if entry is None:
                    removed[key] = None
                else:
                    written[key] = entry
        copied = True
        if written:
            copied = await self.call(
                self.store.write, collection, list(written), list(written.values()), None
            )
        if removed:
            copied &= await self.call(self.store.remove, collection, list(removed), None)
        return copied

    async def touch(
        self,
        collection: Collection,
        keys: Sequence[str],
        expires: Sequence[float | None],
        succeeded: Sequence[bool],
    ) -> bool:
        """Set the expiry times of the entries whose touch succeeded. Returns False on failure."""
        indexes = indexes_of(succeeded)
        return not indexes or await self.call(
            self.store.touch, collection, take(keys, indexes), take(expires, indexes)
        )
