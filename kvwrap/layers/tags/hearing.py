"""Hearing of changed records: the subscriptions to the backends that hold them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf
from typing import Final

from kvwrap.core.changes import Change, Scope, Subscription
from kvwrap.core.part import why_unheard
from kvwrap.core.primitives import Collection, Origin, Primitives
from kvwrap.errors import AccessDenied, KvwrapError, UnsupportedOperation

_log = logging.getLogger("kvwrap.tags")

_RETRY: Final = 1.0
"""Seconds after which a subscription that failed is tried again."""


class _Source:
    """A collection of a backend that holds records, and the link that tells its changes."""

    def __init__(self) -> None:
        self.names: dict[str, bytes] = {}
        self.subscription: Subscription | None = None
        self.tried_at = -inf
        self.lost_at = -inf
        self.is_opening = False

    @property
    def heard_at(self) -> float:
        """The moment until which all changes were told; -infinity while some may be missing."""
        heard_at = -inf if self.subscription is None else self.subscription.heard_at
        return heard_at if heard_at > self.lost_at or heard_at == inf else -inf


class Hearing:
    """Tells which records have changed, through whatever process.

    Args:
        part: The part inside the layer.
        collection: The collection with the records, by its name there.
        bound: Seconds for which what was heard may be relied on.
        changed: Is called with what identifies a changed record; `None` for all of them.
    """

    def __init__(
        self,
        part: Primitives,
        collection: Collection,
        bound: float,
        changed: Callable[[bytes | None], None],
    ) -> None:
        self.reason = ""
        self._part = part
        self._collection = collection
        self._bound = bound
        self._changed = changed
        self._sources: dict[tuple[int, Collection], _Source] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until = -inf

    def obstacle(self) -> str:
        """Return why changes are not told, as far as that is known; empty if they are."""
        if self.reason:
            return self.reason
        try:
            origins = self._origins("kvwrap")
        except Exception:  # of a layer that knows no such name
            return ""
        return why_unheard([store for store, _, _ in origins])

    def is_heard(self, now: float) -> bool:
        """Return True if a record that was not told to have changed is younger than the bound."""
        if now < self._until:
            return True
        if self._loop is not asyncio.get_running_loop() or not self._sources:
            return False
        heard_at = min(source.heard_at for source in self._sources.values())
        if heard_at == -inf:
            return False
        self._until = min(heard_at, now) + self._bound
        return now < self._until

    async def begin(self, names: dict[bytes, str]) -> bool:
        """Hear changes of these records, by what identifies them, from now on.

        Returns True if all of them will be told.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Of an earlier loop, in which nothing goes on.
            self._sources, self._loop, self._until, self.reason = {}, loop, -inf, ""
            self._changed(None)
        if self.reason:
            return False
        are_told = True
        for identity, key in names.items():
            for store, place, name in self._origins(key):
                source = self._sources.get((id(store), place))
                if source is None:
                    source = self._sources[id(store), place] = _Source()
                    self._until = -inf
                source.names[name] = identity
                if source.subscription is None or source.subscription.heard_at == -inf:
                    await self._subscribe(store, place, source)
                are_told = are_told and source.heard_at > -inf
        return are_told

    def forget(self, identities: set[bytes]) -> None:
        """Hear no more of these records."""
        for source in self._sources.values():
            source.names = {
                name: identity
                for name, identity in source.names.items()
                if identity not in identities
            }

    def _origins(self, key: str) -> tuple[Origin, ...]:
        return self._part.trace(self._collection, key)

    async def _subscribe(self, store: Primitives, place: Collection, source: _Source) -> None:
        now = self._part.clock.monotonic()
        if source.is_opening or now < source.tried_at + _RETRY:
            return
        if obstacle := why_unheard((store,)):
            self.reason = obstacle
            return
        source.tried_at, source.is_opening = now, True
        old, source.subscription = source.subscription, None
        try:
            if old is not None:
                await old.close()
            scope = Scope(place, bound=self._bound, reserved=True)
            subscription = await store.subscribe(scope, lambda change: self._tell(source, change))
        except (UnsupportedOperation, AccessDenied) as error:
            self.reason = str(error)
            _log.warning("invalidations of tags are seen by their ttl alone: %s", error)
        except KvwrapError as error:
            # It is tried again; until then records are read again after the bound.
            _log.info("changes of %s are not heard yet (%s)", store.name, error)
        else:
            if self._sources.get((id(store), place)) is source:
                source.subscription, source.lost_at, self._until = subscription, -inf, -inf
                self._changed(None)
            else:
                await subscription.close()
        finally:
            source.is_opening = False

    def _tell(self, source: _Source, change: Change) -> None:
        if change.key is None:
            self._until = -inf
            subscription = source.subscription
            source.lost_at = -inf if subscription is None else subscription.heard_at
            self._changed(None)
            return
        identity = source.names.get(change.key)
        if identity is not None:
            self._changed(identity)

    async def close(self) -> None:
        """End the subscriptions."""
        sources, self._sources = self._sources, {}
        self._until, self._loop, self.reason = -inf, None, ""
        for source in sources.values():
            subscription, source.subscription = source.subscription, None
            if subscription is not None:
                await subscription.close()
