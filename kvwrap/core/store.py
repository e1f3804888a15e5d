"""Stores: the whole interface, and what layers need of the store under them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isfunction
from typing import Any, ClassVar, NoReturn, ParamSpec, Self, TypeVar

from kvwrap.core.basic import BasicMethods
from kvwrap.core.cached import CachedFunction, Caching, cached, without_parentheses
from kvwrap.core.clock import Clock
from kvwrap.core.computed import Across, OnFailure, TTLOf
from kvwrap.core.computed_many import ComputedManyMethods
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.entry import Entry
from kvwrap.core.explain import explain, walk
from kvwrap.core.figures import Measured
from kvwrap.core.findings import Finding
from kvwrap.core.hints import Hints
from kvwrap.core.limits import Limits
from kvwrap.core.lock_counts import LockCounts
from kvwrap.core.part import Part, Passage, View
from kvwrap.core.primitives import PRIMITIVES, Collection
from kvwrap.core.refreshes import Refreshes
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.tagging import TagsOf
from kvwrap.core.ttl import TTL
from kvwrap.core.typed import OnInvalid, TypedStore
from kvwrap.core.validation import checked_place
from kvwrap.core.watch import Watches, WatchMethods
from kvwrap.errors import ConfigurationError

_L = TypeVar("_L", bound=Part)
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Store(ComputedManyMethods, WatchMethods, Hints):
    """Values by key, in collections.

    Authors of a store implement `read`, `write` and `remove`, and those of the other
    primitives that their backend supports, and set `capabilities`. The contract of each
    primitive is in `kvwrap.core.primitives`. `setup` and `teardown` open and close the
    backend; await `ready` before using it.

    Besides the errors in its own documentation, every method raises: `InvalidKey` for an
    invalid key or collection; `StoreUnavailable` or `StoreTimeout` when the backend fails;
    and, when reading, `CorruptEntry` or `DecryptionError` for bytes that are not a value of
    this stack.

    Args:
        default_collection: Name of the collection of calls that name none, in a stack over this
            store too. If omitted, that collection has no name, and no other one is the same.
        clock: The time source; the machine's clock if omitted.
        serializer: The serializer of values, unless a layer has another.
    """

    def __init__(
        self,
        *,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer)
        if default_collection is not None:
            self.default_collection = checked_place(default_collection, "default_collection")
        self._locks = KeyedLocks()
        self._known_leases = {}
        self._lock_counts = LockCounts()
        self._refreshes = Refreshes(self.clock, self._computing)
        self._watches = Watches()
        self._claimed = False
        self._disabled: dict[str, Any] = {}

    async def open(self) -> None:
        self._enable()
        await super().open()

    async def close(self) -> None:
        if self.users <= 1:
            await self._end_background()
        try:
            await super().close()
        finally:
            if self.is_closed:
                self._disable()

    async def _end_background(self) -> None:
        """End what goes on without a call: refreshes of values, leases, and watches."""
        await self._refreshes.close()
        while self._known_leases:
            _, leases = self._known_leases.popitem()
            await leases.close()
        await self._watches.close(self._closed())

    def _disable(self) -> None:
        """Make every operation check whether the store is open; an open store need not check."""
        for name in PRIMITIVES:
            if name not in self._disabled:
                self._disabled[name] = vars(self).get(name)
                setattr(self, name, _only_if_open(self, getattr(self, name)))

    def _enable(self) -> None:
        """Undo `_disable`."""
        for name, primitive in self._disabled.items():
            if primitive is None:
                delattr(self, name)
            else:
                setattr(self, name, primitive)
        self._disabled.clear()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"this {self.name} cannot be copied or pickled because it owns open resources: create "
            "one per process"
        )

    passage = Passage(
        read="finds the entry, unless it has expired",
        write="keeps the entry, with its version and expiry",
    )

    @property
    def usage(self) -> tuple[Measured, ...]:
        """What has the figures of this store object, apart from its parts."""
        return (self.computations, self.locks)

    creates: bool = True
    """False to refuse a file, table, bucket or index that is not there.

    By default it is created. What only reads sets this before it opens the store, since an empty
    one would hide a mistake in the path or name. The store raises `ConfigurationError` then, when
    it opens or at its first call. A stack opens without second stores that only have copies.
    """

    silenced: frozenset[str] = frozenset()
    """The codes of findings to ignore, as given to `Stack.silence`."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store that a URL describes, for classes that support URLs.

        Raises:
            ConfigurationError: The class does not support URLs, or not this one.
        """
        raise ConfigurationError(f"a {cls.__name__} has no URLs: call its constructor")

    has_relative_urls: ClassVar[bool] = False
    """True if the path in a URL of this class may be relative: `scheme:///relative/path`."""

    @property
    def location(self) -> str:
        """Where the entries are, without credentials: a server and database, or a file.

        Stores with the same entries have the same location, whatever their other arguments.
        `kvwrap.rewrite` compares it, so that one store's state is not used for another.
        """
        return self.name

    @property
    def servers(self) -> Sequence[tuple[str, int | None]]:
        """The servers that hold the entries, each as host and port; empty without or if unknown.

        A Unix socket is its path, without a port. There are no credentials in it.
        """
        return ()

    look_up: Callable[[Collection, str], Entry | None] | None = None
    """Returns the unexpired entry of a key at once, as `read` does; `None` where that may wait.

    A store that has it answers writes and removals of few keys at once, too.
    """

    write_one: Callable[[Collection, str, Entry], object] | None = None
    """Writes one entry at once, as `write` does; `None` where that may wait."""

    remove_one: Callable[[Collection, str], object] | None = None
    """Removes one entry at once, as `remove` does; `None` where that may wait."""

    @property
    def limits(self) -> Limits | None:
        """The limits for which entries are evicted; `None` if that is not simulated elsewhere."""
        return None

    async def evicts(self) -> str | None:
        """Return why the backend may drop entries before their expiry; `None` if it never does.

        A lock is refused where its record might be dropped to save space.
        """
        return None

    async def scrub(self) -> None:
        """Erase the remains of overwritten and deleted entries, where the backend keeps some.

        `kvwrap.rewrite` calls this of the backend at the end, so that plaintext does not stay
        there after it was encrypted. By default there is nothing to do.
        """

    async def count_unreadable(self) -> int:
        """Return the number of values in the backend that listings leave out.

        They are under names that are no keys, or of types that the store cannot read, as other
        programs leave them. `kvwrap.copy` reports this number. By default there are none.
        """
        return 0 if self.base is self else await self.base.count_unreadable()

    @property
    def base(self) -> Store:
        """The backend under all layers; a bare store's base is the store itself."""
        return self

    @property
    def layers(self) -> tuple[Part, ...]:
        """The running layers over the backend, outermost first; none for a bare store."""
        return ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The layers and, as the last, the backend."""
        return (*self.layers, self.base)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The mistakes in this stack."""
        return ()

    @property
    def idle(self) -> bool:
        """True while nothing is in progress: here, in the layers, and in their second stores."""
        is_idle = not self._locks and all(leases.idle for leases in self._known_leases.values())
        return is_idle and all(part.idle for part in walk(self) if part is not self)

    def find(self, layer: type[_L]) -> _L:
        """Return the running part of the outermost layer of this class, with its own methods.

        A store class finds the backend. The parts of second stores, such as a near store, are
        found after the stack's own.

        Raises:
            ConfigurationError: The stack has no part of this class.
        """
        for part in walk(self):
            if isinstance(part, layer):
                return part
        names = dict.fromkeys(type(part).__name__ for part in walk(self))
        raise ConfigurationError(
            f"this stack has no {layer.__name__}: its parts are {', '.join(names)}",
            store=self.name,
        )

    def typed(
        self,
        model: type[_T],
        *,
        collection: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> TypedStore[_T]:
        """Return a view of this store whose values are instances of one model.

        Args:
            model: A pydantic model, a dataclass, a msgspec struct, a TypedDict, or a type made
                of one kind of these (`list[User]`).
            collection: The collection of the view's methods when none is passed.
            on_invalid: The treatment of stored values that are not of the model: "raise"
                `InvalidValue`, or "ignore" them, as if they were missing.

        Raises:
            ConfigurationError: `model` is not of these kinds.
        """
        return TypedStore(self, model, collection=collection, on_invalid=on_invalid)

    def cached(
        self,
        function: None = None,
        /,
        *,
        ttl: TTLOf | None = None,
        collection: str | None = None,
        key: Callable[..., str] | None = None,
        model: type[Any] | None = None,
        keep: Callable[[Any], bool] | None = None,
        on_error: OnFailure = "compute",
        on_invalid: OnFailure = "compute",
        stale_ttl: TTL | None = None,
        soft_timeout: float | None = None,
        tags: TagsOf | None = None,
        across: Across | None = None,
    ) -> Callable[[Callable[_P, Awaitable[_T]]], CachedFunction[_P, _T]]:
        """Return a decorator that caches the results of an async function in this store.

        Calls with equal arguments share a result, whether passed by position or by name. While
        one call computes it, the others of this process wait. `None` is cached like any result.
        An exception is not cached; the callers that wait for it get it too. A function that
        needs its own result, itself or through another one, gets `Deadlock`. The decorated
        function has the methods `key(*args)` and `invalidate(*args)`. So has a method, without
        `self`; put the decorator outside `classmethod` and `staticmethod`.

        Args:
            function: Nothing; `@store.cached` without parentheses is an error.
            ttl: The time to live of a result, in seconds or as a timedelta, or a function that
                returns it for a result.
            collection: The collection of the results.
            key: A function that returns the key for the arguments. By default, the key is the
                function's full name with the arguments and what its closure holds, which must be
                of Python's plain types, enums, dates, UUIDs, paths, classes, dataclasses or
                containers of those: `InvalidKey` otherwise.
            model: The model of the results, as for `typed`, if they are not JSON values.
            keep: A function that returns True for a result to store.
            on_error: "compute" to return a result that the store fails to read or refuses to
                store, or "raise"; see `get_or_put`.
            on_invalid: "compute" to replace a stored value that cannot be read or is not of the
                model, or "raise".
            stale_ttl: Seconds, or a timedelta, for which a result is kept after its ttl, and is
                returned if the function raises.
            soft_timeout: Seconds for which a caller waits for the function if there is such a
                result. Then that is returned, and the function finishes in the background.
            tags: Tags of the results, or a function that returns them for a result; see
                `get_or_put`.

        Raises:
            UnsupportedOperation: There are `tags`, and no layer `Tags`.
            ConfigurationError: The decorated object is not an async function, its closure holds
                something that cannot be part of a key and there is no `key`, or an argument is
                invalid.
            TypeError: The parentheses are missing.
        """
        if function is not None:
            raise without_parentheses(function)
        caching = Caching(
            self,
            ttl=ttl,
            collection=collection,
            key=key,
            model=model,
            keep=keep,
            on_error=on_error,
            on_invalid=on_invalid,
            stale_ttl=stale_ttl,
            soft_timeout=soft_timeout,
            tags=tags,
            across=across,
        )
        return cached(self, caching)

    def explain(self, *, svg: bool | View = False) -> str:
        """Return the stack as a tree: what it has counted so far, capabilities and findings.

        Args:
            svg: `True` for a drawing of the stack as SVG. `"read"`, `"write"` or `"both"` for a
                drawing of these calls on their way through it: what each layer does, and what
                the entry is below it.

        Raises:
            ConfigurationError: `svg` is something else.
        """
        return explain(self, svg)

    def claim(self) -> None:
        """Reserve this store for one layer, as its second store.

        Raises:
            ConfigurationError: Another layer has claimed it.
        """
        if self._claimed:
            raise ConfigurationError(
                f"a second store must belong to one stack; this {self.name} belongs to another "
                "one already, and the two would read each other's entries. Pass a factory, such as "
                f"lambda: {self.name}(...), so that every stack gets its own"
            )
        self._claimed = True

    def release(self) -> None:
        """Undo `claim`, after a stack was refused."""
        self._claimed = False

    def _live(self, entry: Entry | None) -> Entry | None:
        """Return the entry, or None if it has expired; stores use it for what they read."""
        if entry is None or entry.expires_at is None or entry.expires_at > self.clock.time():
            return entry
        return None


for _base in Store.__mro__[: Store.__mro__.index(BasicMethods) + 1]:
    for _name, _method in vars(_base).items():
        # Python's messages about arguments begin with it, and users know only `Store`.
        if not _name.startswith("_") and isfunction(_method):
            _method.__qualname__ = f"{Store.__name__}.{_name}"


def _only_if_open(store: Store, primitive: Callable[..., Any]) -> Callable[..., Any]:
    async def primitive_if_open(*arguments: Any) -> Any:
        # A stack may be put over a closed store, bind this, and open the store afterwards.
        await store.ready()
        return await primitive(*arguments)

    return primitive_if_open
