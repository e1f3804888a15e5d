"""Second stores of a part: owned by it alone, opened and closed with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, Self

from kvwrap.core.basic import BasicMethods
from kvwrap.core.described import redacted_repr
from kvwrap.core.missing import NotThereYet
from kvwrap.core.part import Part
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError

StoreSource = Annotated[Any, "a second store"]
"""A second store: a store, a factory of one, or an object that `kvwrap.adapt` takes.

The annotation tells a configuration that an argument is a store.
"""


class Nested(Part):
    """A part that may have second stores, such as a near store or a fallback."""

    # Mangled, because subclasses in any package have private names of their own.
    __second: list[tuple[str, Store, StoreSource]]

    def second(self, role: str, source: StoreSource) -> Store:
        """Claim a second store for this part alone; it is opened and closed with the stack.

        Args:
            role: The role of the store in this part, for `explain()`.
            source: A store, a factory of one, or an object that `kvwrap.adapt` takes.
        """
        store = as_store(source() if _is_factory(source) else source)
        store.claim()
        self.__second.append((role, store, source))
        return store

    def clear_second_stores(self) -> None:
        """Start without second stores."""
        self.__second = []

    def release(self) -> None:
        """Release the claims on the second stores, after a stack was refused."""
        for _, store, _ in self.__second:
            store.release()

    @property
    def second_stores(self) -> Sequence[tuple[str, Store]]:
        """The second stores of this part, each with its role."""
        return [(role, store) for role, store, _ in self.__second]

    @property
    def plain_arguments(self) -> dict[str, Any]:
        """The arguments except those that describe second stores."""
        sources = [source for _, _, source in self.__second]
        return {k: v for k, v in self.arguments.items() if not _contains(v, sources)}

    @property
    def summary(self) -> str:
        """The `repr` without second stores, which are branches in `explain()`."""
        if not self.__second:
            return repr(self)
        shown = [f"{name}={redacted_repr(name, v)}" for name, v in self.plain_arguments.items()]
        return f"{self.name}({', '.join(shown)})"

    def beside(self) -> Self | None:
        """Return this part for a tool that opens the stack while an application may have it open.

        None leaves the part out. What only one process can have, such as a journal, must be.
        """
        return self

    async def setup(self) -> None:
        async with AsyncExitStack() as opened:
            for _, store, _ in self.__second:
                try:
                    await store.open()
                except NotThereYet:
                    if "spreads" in self.traits:
                        raise
                    continue  # it has copies alone, and is found missing again if it is used
                opened.push_async_callback(store.close)
            opened.pop_all()

    async def teardown(self) -> None:
        async with AsyncExitStack() as closing:
            for _, store, _ in self.__second:
                closing.push_async_callback(store.close)

    async def close(self) -> None:
        if not self.is_open and not self.is_closed:
            # Never set up as a whole: its second stores may have been set up by their first use.
            async with AsyncExitStack() as closing:
                for _, store, _ in self.__second:
                    if not store.users:
                        closing.push_async_callback(store.close)
        await super().close()


def checked_source(source: Any, name: str) -> Any:
    """Return the source of a second store, unchanged; `name` is that of the argument.

    Raises:
        ConfigurationError: It is not a store, a factory, or an object that `kvwrap.adapt` takes.
    """
    if not callable(source):
        try:
            as_store(source)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"`{name}` must be a store, or a factory of one: {error}"
            ) from None
    return source


def checked_sources(sources: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Return a copy of the sources of second stores by name; `name` is that of the argument.

    Raises:
        ConfigurationError: A name is not a string with at least one character, or a source is
            not one for `checked_source`.
    """
    for key, source in sources.items():
        if not isinstance(key, str) or not key:
            raise ConfigurationError(
                f"`{name}` must have a non-empty str as the name of every store; got {key!r}"
            )
        checked_source(source, f"{name}[{key!r}]")
    return dict(sources)


def _is_factory(source: StoreSource) -> bool:
    return isinstance(source, type) or (callable(source) and not isinstance(source, BasicMethods))


def _contains(value: Any, sources: Sequence[StoreSource]) -> bool:
    if isinstance(value, Mapping):
        return _contains(list(value.values()), sources)
    if isinstance(value, list | tuple):
        return any(_contains(item, sources) for item in value)
    return any(value is source for source in sources)
