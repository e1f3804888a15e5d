"""Adapters: how the objects of one library are recognised and called."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from typing import Any, ClassVar, Final

from kvwrap.core.capability import Capability
from kvwrap.core.concurrency import gather
from kvwrap.core.validation import has_method
from kvwrap.errors import ConfigurationError
from kvwrap.stores.adapted.forms import BYTES, Form
from kvwrap.stores.shared.names import NameEncoding

PLAIN: Final = NameEncoding(
    string.ascii_letters + string.digits + string.punctuation.replace("%", ""), limit=200
)
"""Names for caches, which may be served by memcached: printable characters without a space."""
FILE_NAMES: Final = NameEncoding(string.ascii_letters + string.digits + "-", escape="_", limit=200)
"""Names for objects that make files or paths of them."""


class Adapter:
    """Calls one object. A subclass says how the objects of its library are called.

    All methods take names as the object has them, and many at once. They are coroutine functions
    where the object's are, and otherwise run on a thread (`blocking`) or on the event loop.

    Args:
        obj: The object.
        namespace: Where the names are in it, for a library that has namespaces.

    Attributes:
        kind: What the object is, for `explain()` and for errors.
        classes: Names of the classes whose instances are adapted, each as `module:name`.
        package: Name of the distribution, for errors.
        needs: Names of the methods that are called.
        blocking: True if the methods may wait for a disk, a server or a lock.
        form: How entries are put into the object.
        names: Encodes names for the object; None if it takes any text.
        has_ttl: True if the object ends entries after the `ttl` passed to `set_many`.
        tells_ttl: True for a method `lifetimes`.
        has_namespace: True if `namespace` is understood.
        lists: True for a method `list_names`.
        deletes: False if nothing can be removed from the object, but only replaced.
        properties: What is known of the entries in all objects of this kind.
        transaction: Returns a context manager within which no other process and no other thread
            changes the object, so that conditional writes are atomic; None without such means.
        release: Ends what the thread of the store has opened; None for nothing.
    """

    kind: ClassVar[str]
    classes: ClassVar[tuple[str, ...]] = ()
    package: ClassVar[str | None] = None
    needs: ClassVar[tuple[str, ...]] = ()
    blocking: bool = True
    form: Form = BYTES
    names: NameEncoding | None = None
    has_ttl: bool = False
    tells_ttl: ClassVar[bool] = False
    has_namespace: ClassVar[bool] = False
    lists: bool = True
    deletes: bool = True
    properties: frozenset[Capability] = frozenset()
    transaction: Callable[[], AbstractContextManager[object]] | None = None
    release: Callable[[], object] | None = None

    def __init__(self, obj: Any, namespace: tuple[str, ...] | None = None) -> None:
        self._obj = obj
        self._namespace = namespace
        if namespace is not None and not self.has_namespace:
            raise ConfigurationError(
                f"`namespace` must be left out for a {self.kind}, which has no namespaces"
            )
        lacking = [name for name in self.needs if not has_method(obj, name)]
        if lacking:
            raise ConfigurationError(
                f"a {self.kind} must have the methods {', '.join(self.needs)}; this "
                f"{type(obj).__name__} lacks {', '.join(lacking)}: it is of {self._version()}, "
                "whose interface kvwrap does not know"
            )

    def _version(self) -> str:
        if self.package is not None:
            try:
                return f"{self.package} {metadata.version(self.package)}"
            except metadata.PackageNotFoundError:
                return f"a version of {self.package}"
        return "another library"

    def use_raw(self) -> None:
        """Take the object's own keys, where they are no strings, since values of others count."""

    def get_many(self, names: Sequence[str]) -> Any:
        """Return what the object holds, by name, without the names that it does not have."""
        return found(names, map(self.get, names))

    def set_many(self, values: Mapping[str, Any], ttl: int | None) -> Any:
        """Put values into the object, for `ttl` seconds, or for good."""
        for name, value in values.items():
            self.set(name, value, ttl)

    def delete_many(self, names: Sequence[str]) -> Any:
        """Remove names from the object. Those that it does not have are ignored."""
        for name in names:
            self.delete(name)

    def list_names(self) -> Any:
        """Return all names in the object, also those of other programs."""
        raise NotImplementedError

    def lifetimes(self, names: Sequence[str]) -> Any:
        """Return the seconds for which the object keeps each name, None for good."""
        raise NotImplementedError

    def eviction(self) -> str | None:
        """Return why the object may drop names before their end; None if it never does."""
        return None

    def place(self) -> str | None:
        """Return where the object has its entries, such as a folder; None if it does not tell."""
        return None

    def get(self, name: str) -> Any:
        """Return one value, or None; `get_many` calls it, unless overridden."""
        raise NotImplementedError

    def set(self, name: str, value: Any, ttl: int | None) -> Any:
        """Put one value; `set_many` calls it, unless overridden."""
        raise NotImplementedError

    def delete(self, name: str) -> Any:
        """Remove one name; `delete_many` calls it, unless overridden."""
        raise NotImplementedError


class AsyncAdapter(Adapter):
    """An adapter whose single calls are coroutine functions; many run at the same time."""

    blocking = False

    async def get_many(self, names: Sequence[str]) -> dict[str, Any]:
        return found(names, await gather([self.get(name) for name in names]))

    async def set_many(self, values: Mapping[str, Any], ttl: int | None) -> None:
        await gather([self.set(name, value, ttl) for name, value in values.items()])

    async def delete_many(self, names: Sequence[str]) -> None:
        await gather([self.delete(name) for name in names])


def found(names: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    """Return values by name, without those that are None."""
    return {name: value for name, value in zip(names, values) if value is not None}


def class_names(obj: object) -> list[str]:
    """Return the names of an object's class and of its bases, each as `module:name`."""
    return [f"{cls.__module__}:{cls.__qualname__}" for cls in type(obj).__mro__]
