"""One of several stores, by collection or key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from typing import ClassVar, Literal

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Collection,
    Partitioning,
    Primitives,
    Store,
    StoreSource,
    checked_call,
    checked_sources,
)

Choose = Callable[[Collection, str], str | None]
"""Says by which route an entry goes, given its collection and key; `None` is the inner store."""


class Routing(Partitioning):
    """Keeps each entry in the store that its collection or key names; all others in the inner one.

    Args:
        routes: Stores by pattern (`*`, `?` and `[…]` as in file names, capitals count); the
            first that matches is the route. With `choose`, stores by the names that it gives.
        by: What the patterns are matched with. By `"collection"`, the default collection,
            which has no name, is always in the inner store.
        choose: Chooses the route of every entry, in place of patterns. It must give the same
            answer for the same names every time.

    Raises:
        ConfigurationError: There are no routes, or `by` is neither word. Also in use, where
            `choose` names no route.

    >>> from kvwrap import MemoryStore, stack
    >>> store = stack().route({"sessions": MemoryStore, "log-*": MemoryStore}).over(MemoryStore())
    """

    traits: ClassVar[frozenset[str]] = frozenset({"spreads"})

    def __init__(
        self,
        routes: Mapping[str, StoreSource],
        *,
        by: Literal["collection", "key"] = "collection",
        choose: Choose | None = None,
    ) -> None:
        if not routes or not isinstance(routes, Mapping):
            raise ConfigurationError("routes are stores by pattern, at least one")
        if by not in ("collection", "key"):
            raise ConfigurationError(f"routes go by 'collection' or by 'key', not by {by!r}")
        self._sources = checked_sources(routes, "routes")
        self._by_key = by == "key"
        self._choose = checked_call(choose, "choose")
        self._routes: dict[str, Store] = {}
        self._patterns: list[tuple[Callable[[str], object], Store]] = []

    def on_bind(self) -> None:
        self._routes = {
            pattern: self.second(f"route {pattern!r}", source)
            for pattern, source in self._sources.items()
        }
        self._patterns = [
            (re.compile(translate(pattern)).match, store) for pattern, store in self._routes.items()
        ]

    @property
    def stores(self) -> Sequence[Primitives]:
        return (*self._routes.values(), self.inner)

    def store_for(self, collection: Collection, key: str) -> Primitives:
        if self._choose is None:
            return self._matching(key if self._by_key else collection)
        chosen = self._choose(collection, key)
        if chosen is None:
            return self.inner
        try:
            return self._routes[chosen]
        except KeyError:
            raise ConfigurationError(
                f"the route {str(chosen)!r} was chosen, and there is only "
                f"{', '.join(map(repr, self._routes))}",
                store=self.name,
                collection=collection,
                key=key,
            ) from None

    def store_for_collection(self, collection: Collection) -> Primitives | None:
        if self._by_key or self._choose is not None:
            return None
        return self._matching(collection)

    def _matching(self, name: str | None) -> Primitives:
        if name is not None:
            for matches, store in self._patterns:
                if matches(name):
                    return store
        return self.inner
