"""Keep each entry in a store that is chosen by its collection or key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from typing import ClassVar, Literal

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Collection,
    Partitioning,
    Passage,
    Primitives,
    Store,
    StoreSource,
    checked_call,
    checked_sources,
)

Choose = Callable[[Collection, str], str | None]
"""Returns the route of an entry, from its collection and key; `None` is the inner store."""


class Routing(Partitioning):
    """Keeps each entry in the store of its route, and entries without a route in the inner store.

    Args:
        routes: Stores by pattern (`*`, `?` and `[…]` as in file names, case-sensitive). The
            first matching pattern is the route. With `choose`, stores by route name.
        by: What patterns are matched against: `"collection"` or `"key"`. By collection, the
            default collection is always in the inner store, because it has no name.
        choose: Returns the route of an entry, instead of patterns. It must always return
            the same route for the same arguments.

    Raises:
        ConfigurationError: There are no routes, or `by` is another word. Also raised by
            operations, if `choose` returns the name of no route.

    >>> from kvwrap import MemoryStore, stack
    >>> store = stack().route({"sessions": MemoryStore, "log-*": MemoryStore}).over(MemoryStore())
    """

    passage = Passage(read="goes to the store of its route", inner="no route")
    traits: ClassVar[frozenset[str]] = frozenset({"spreads"})

    def __init__(
        self,
        routes: Mapping[str, StoreSource],
        *,
        by: Literal["collection", "key"] = "collection",
        choose: Choose | None = None,
    ) -> None:
        if not routes or not isinstance(routes, Mapping):
            raise ConfigurationError(
                "`routes` must be a mapping of at least one pattern to a store, such as "
                f"{{'log-*': MemoryStore}}; got {_describe(routes)}"
            )
        if by not in ("collection", "key"):
            raise ConfigurationError(f"`by` must be 'collection' or 'key'; got {by!r}")
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
            return self._match(key if self._by_key else collection)
        chosen = self._choose(collection, key)
        if chosen is None:
            return self.inner
        try:
            return self._routes[chosen]
        except KeyError:
            raise ConfigurationError(
                f"`choose` must return a route or None; got {str(chosen)!r}, and the routes are "
                f"{', '.join(map(repr, self._routes))}",
                store=self.name,
                collection=collection,
                key=key,
            ) from None

    def store_for_collection(self, collection: Collection) -> Primitives | None:
        if self._by_key or self._choose is not None:
            return None
        return self._match(collection)

    def _match(self, name: str | None) -> Primitives:
        if name is not None:
            for match, store in self._patterns:
                if match(name):
                    return store
        return self.inner


def _describe(routes: object) -> str:
    return "an empty mapping" if isinstance(routes, Mapping) else type(routes).__name__
