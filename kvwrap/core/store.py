"""A store: the whole interface, and what a stack of layers needs of the store under it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, ParamSpec, Self, TypeVar

from kvwrap.core.atomic import AtomicMethods
from kvwrap.core.cached import CachedFunction, cached
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.entry import Entry
from kvwrap.core.explain import explain, walk
from kvwrap.core.findings import Finding
from kvwrap.core.part import Part
from kvwrap.core.primitives import PRIMITIVES
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.ttl import TTL
from kvwrap.core.typed import OnInvalid, TypedStore
from kvwrap.errors import ConfigurationError

_L = TypeVar("_L", bound=Part)
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Store(AtomicMethods):
    """Values by key, in collections.

    Authors of a store implement `read`, `write` and `remove`, those of the other
    primitives that their backend can do, and state `capabilities`; what each primitive
    must do stands in `kvwrap.core.primitives`. `setup` and `teardown` open and close
    the backend, and `ready` is awaited before it is used.

    Every method raises, besides what it names: `InvalidKey` for a key or collection that
    is no name; `StoreUnavailable` or `StoreTimeout` when the backend fails; and, reading,
    `CorruptEntry` or `DecryptionError` for bytes that no value of this stack can be.

    Args:
        clock: Where the time comes from; the machine's clock if left out.
        serializer: What turns values into bytes where no layer says otherwise.
    """

    def __init__(self, *, clock: Clock | None = None, serializer: Serializer = JSON) -> None:
        super().__init__(clock=clock, serializer=serializer)
        self._locks = KeyedLocks()
        self._claimed = False
        self._working: dict[str, Any] = {}

    async def open(self) -> None:
        self._enable()
        await super().open()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            if self.is_closed:
                self._disable()

    def _disable(self) -> None:
        """Refuse every operation from now on: a store in use is not asked whether it is open."""
        for name in PRIMITIVES:
            if name not in self._working:
                self._working[name] = vars(self).get(name)
                setattr(self, name, _refusing(self, getattr(self, name)))

    def _enable(self) -> None:
        """Undo `_lay_down`."""
        for name, primitive in self._working.items():
            if primitive is None:
                delattr(self, name)
            else:
                setattr(self, name, primitive)
        self._working.clear()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {self.name} is neither copied nor pickled, since two would use what one has "
            "opened: make another one, in each process its own"
        )

    silenced: frozenset[str] = frozenset()
    """The codes of findings that are meant, as given to `Stack.silence`."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A store as a URL describes it, for stores that can be described so.

        Raises:
            ConfigurationError: This class has no URLs, or not such ones.
        """
        raise ConfigurationError(f"a {cls.__name__} is not opened by a URL")

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
        """What can be said against this stack."""
        return ()

    @property
    def idle(self) -> bool:
        """Whether nothing is in progress, in no layer, in no second store, and not here."""
        return not self._locks and all(part.idle for part in walk(self) if part is not self)

    def find(self, layer: type[_L]) -> _L:
        """Return the running part of the outermost layer of this class, with its own methods.

        A store class finds the backend. The parts of second stores, such as a near store, are
        found after the stack's own.

        Raises:
            ConfigurationError: There is none.
        """
        for part in walk(self):
            if isinstance(part, layer):
                return part
        raise ConfigurationError(f"there is no {layer.__name__} in this stack", store=self.name)

    def typed(
        self,
        model: type[_T],
        *,
        collection: str | None = None,
        on_invalid: OnInvalid = "raise",
    ) -> TypedStore[_T]:
        """A view of this store whose values are instances of one model.

        Args:
            model: A pydantic model, a dataclass, a msgspec struct, a TypedDict, or a type made
                of one kind of them (`list[User]`).
            collection: The collection that the view's methods mean where none is given.
            on_invalid: What to do with stored values that are not of the model: "raise"
                `InvalidValue`, or "ignore" them, as if they were missing.

        Raises:
            ConfigurationError: `model` is of none of these kinds.
        """
        return TypedStore(self, model, collection=collection, on_invalid=on_invalid)

    def cached(
        self,
        *,
        ttl: TTL | None = None,
        collection: str | None = None,
        key: Callable[..., str] | None = None,
        model: type[Any] | None = None,
    ) -> Callable[[Callable[_P, Awaitable[_T]]], CachedFunction[_P, _T]]:
        """A decorator that keeps the results of an async function in this store.

        Calls with equal arguments share a result, however the arguments are passed. While one
        call computes it, the others of this process wait. `None` is kept like any result; an
        exception is not, and goes to the caller alone. The decorated function has the methods
        `key(*args)` and `invalidate(*args)`.

        Args:
            ttl: How long a result is kept.
            collection: Where.
            key: Makes the key from the arguments. Left out, the key is the function's full
                name with the arguments, which must be of Python's plain types, enums, dates,
                UUIDs, paths, dataclasses or containers of those: `InvalidKey` otherwise.
            model: What results are instances of, as for `typed`, if they are not JSON values.

        Raises:
            ConfigurationError: What is decorated is not an async function, or is a method and
                there is no `key`.
        """
        return cached(self, ttl=ttl, collection=collection, key=key, model=model)

    def explain(self) -> str:
        """The stack as a tree, what it can do, and what can be said against it."""
        return explain(self)

    def claim(self) -> None:
        """Take this store for one layer alone, as its second store.

        Raises:
            ConfigurationError: Another layer has it.
        """
        if self._claimed:
            raise ConfigurationError(
                f"this {self.name} is the second store of another stack already, and the two "
                "would read each other's entries: give the layer a factory, as in "
                f"lambda: {self.name}(...), so that every stack gets its own"
            )
        self._claimed = True

    def release(self) -> None:
        """Undo `claim`, after a stack that was refused."""
        self._claimed = False

    def _live(self, entry: Entry | None) -> Entry | None:
        """The entry, unless it has expired: for stores to pass through what they read."""
        if entry is None or entry.expires_at is None or entry.expires_at > self.clock.time():
            return entry
        return None


def _refusing(store: Store, primitive: Callable[..., Any]) -> Callable[..., Any]:
    async def primitive_if_open(*arguments: Any) -> Any:
        # A stack may be put over a closed store, keep this, and then open the store.
        await store.ready()
        return await primitive(*arguments)

    return primitive_if_open
