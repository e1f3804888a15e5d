"""A part's further stores: taken for it alone, opened and closed with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any

from kvwrap.core.basic import BasicMethods
from kvwrap.core.described import redacted_repr
from kvwrap.core.part import Part
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError

StoreSource = Annotated[Any, "a second store"]
"""A second store: a store, a factory of one, or an object that `kvwrap.adapt` takes.

A configuration knows by this annotation that an argument is a store.
"""


class Nested(Part):
    """A part that may have second stores, such as a near store or a fallback."""

    # Mangled, since subclasses of all packages have private names of their own.
    __taken: list[tuple[str, Store, StoreSource]]

    def second(self, role: str, source: StoreSource) -> Store:
        """Take a second store for this part alone; it is opened and closed with the stack.

        Args:
            role: What it is to this part, for `explain()`.
            source: A store, a factory of one, or what `kvwrap.adapt` takes.
        """
        store = as_store(source() if _is_factory(source) else source)
        store.claim()
        self.__taken.append((role, store, source))
        return store

    def take_none(self) -> None:
        """Start without second stores."""
        self.__taken = []

    def release(self) -> None:
        """Give the second stores back, after a stack that was refused."""
        for _, store, _ in self.__taken:
            store.release()

    @property
    def second_stores(self) -> Sequence[tuple[str, Store]]:
        """The second stores of this part, each with its role."""
        return [(role, store) for role, store, _ in self.__taken]

    @property
    def plain_arguments(self) -> dict[str, Any]:
        """The arguments except those that second stores were made from."""
        sources = [source for _, _, source in self.__taken]
        return {k: v for k, v in self.arguments.items() if not _holds(v, sources)}

    @property
    def summary(self) -> str:
        """The `repr` without second stores, which are branches of their own."""
        if not self.__taken:
            return repr(self)
        given = [f"{name}={redacted_repr(name, v)}" for name, v in self.plain_arguments.items()]
        return f"{self.name}({', '.join(given)})"

    async def setup(self) -> None:
        async with AsyncExitStack() as opened:
            for _, store, _ in self.__taken:
                await store.open()
                opened.push_async_callback(store.close)
            opened.pop_all()

    async def teardown(self) -> None:
        async with AsyncExitStack() as closing:
            for _, store, _ in self.__taken:
                closing.push_async_callback(store.close)

    async def close(self) -> None:
        if not self.is_open and not self.is_closed:
            # Never set up as a whole: its second stores may have opened themselves when used.
            async with AsyncExitStack() as closing:
                for _, store, _ in self.__taken:
                    if not store.users:
                        closing.push_async_callback(store.close)
        await super().close()


def checked_source(source: Any, name: str) -> Any:
    """A second store: a store, a factory, or what can be adapted; else `ConfigurationError`."""
    if not callable(source):
        try:
            as_store(source)
        except ConfigurationError as error:
            raise ConfigurationError(f"{name} is a store, or a factory of one: {error}") from None
    return source


def checked_sources(sources: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Second stores by name; raises `ConfigurationError` otherwise."""
    for each, source in sources.items():
        if not isinstance(each, str) or not each:
            raise ConfigurationError(f"{name} are stores by name, and {each!r} is no name")
        checked_source(source, f"{name}[{each!r}]")
    return dict(sources)


def _is_factory(source: StoreSource) -> bool:
    return isinstance(source, type) or (callable(source) and not isinstance(source, BasicMethods))


def _holds(value: Any, sources: Sequence[StoreSource]) -> bool:
    if isinstance(value, Mapping):
        return _holds(list(value.values()), sources)
    if isinstance(value, list | tuple):
        return any(_holds(item, sources) for item in value)
    return any(value is source for source in sources)
