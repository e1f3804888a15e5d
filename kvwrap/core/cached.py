"""Results of async functions, kept in a store."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import hashlib
import inspect
import pathlib
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from kvwrap.core.atomic import AtomicMethods
from kvwrap.core.ttl import TTL, checked_ttl
from kvwrap.core.typed import TypedStore
from kvwrap.core.validation import checked_collection, checked_key
from kvwrap.errors import ConfigurationError, InvalidKey

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

_LONGEST = 150
"""Characters of a readable key; longer ones end in a hash, for backends with short keys."""


class CachedFunction(Protocol[P, R_co]):
    """A function whose results are kept in a store; made by `store.cached(...)`."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """The kept result for these arguments, or the function's, which is then kept."""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, bool]:
        """Forget the result for these arguments; whether there was one."""


def cached(
    store: AtomicMethods,
    *,
    ttl: TTL | None = None,
    collection: str | None = None,
    key: Callable[..., str] | None = None,
    model: type[Any] | None = None,
) -> Callable[[Callable[P, Awaitable[T]]], CachedFunction[P, T]]:
    """See `Store.cached`."""
    if ttl is not None:
        checked_ttl(ttl)
    checked_collection(collection)
    if key is not None and not callable(key):
        raise ConfigurationError("key is a function of the arguments, which gives the key")
    view = store if model is None else TypedStore(store, model)

    def decorate(function: Callable[P, Awaitable[T]]) -> CachedFunction[P, T]:
        if not inspect.iscoroutinefunction(inspect.unwrap(function)):
            raise ConfigurationError(f"cached takes async functions, and {function!r} is not one")
        named = _keys_of(function) if key is None else key

        def key_of(*args: P.args, **kwargs: P.kwargs) -> str:
            return checked_key(named(*args, **kwargs))

        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await view.get_or_put(
                key_of(*args, **kwargs),
                lambda: function(*args, **kwargs),
                collection=collection,
                ttl=ttl,
            )

        async def invalidate(*args: P.args, **kwargs: P.kwargs) -> bool:
            return await store.delete(key_of(*args, **kwargs), collection=collection)

        wrapper: Any = call
        wrapper.key = key_of
        wrapper.invalidate = invalidate
        return cast("CachedFunction[P, T]", wrapper)

    return decorate


def _keys_of(function: Callable[..., Any]) -> Callable[..., str]:
    """A key for every set of arguments: the function's full name, and the arguments by value."""
    signature = inspect.signature(function)
    name = f"{function.__module__}.{function.__qualname__}"
    first = next(iter(signature.parameters), None)
    if first in ("self", "cls"):
        raise ConfigurationError(
            f"{name} is a method, and its results may depend on what {first} holds: give a key, "
            f"as in cached(key=lambda {first}, ...: ...)"
        )

    def key(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        shown = ", ".join(_shown(value, name) for value in bound.arguments.values())
        readable = f"{name}({shown})"
        if len(readable) <= _LONGEST:
            return readable
        return f"{name[:_LONGEST]}#{hashlib.sha256(readable.encode()).hexdigest()}"

    return key


_EXACT = (type(None), bool, int, float, str, bytes)
_BY_STR = (uuid.UUID, decimal.Decimal, pathlib.PurePath)
_BY_ISO = (datetime.date, datetime.time)  # a datetime is a date


def _shown(value: Any, function: str) -> str:
    """The value written out so that no two different ones are written alike."""
    kind = type(value)
    if kind in _EXACT:
        return ascii(value)
    if kind in (list, tuple):
        inner = ", ".join(_shown(item, function) for item in value)
        return f"[{inner}]" if kind is list else f"({inner},)"
    if kind in (set, frozenset):
        return f"{{{', '.join(sorted(_shown(item, function) for item in value))}}}"
    if isinstance(value, Mapping):
        pairs = [f"{_shown(k, function)}: {_shown(v, function)}" for k, v in value.items()]
        return f"{kind.__name__}{{{', '.join(sorted(pairs))}}}"
    named = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, enum.Enum):
        return f"{named}.{value.name}"
    if isinstance(value, _BY_STR):
        return f"{named}({str(value)!a})"
    if isinstance(value, _BY_ISO):
        return f"{named}({value.isoformat()!a}{getattr(value, 'fold', 0) or ''})"
    if isinstance(value, datetime.timedelta):
        return f"{named}({value.days}, {value.seconds}, {value.microseconds})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return f"{named}({', '.join(_shown(field, function) for field in fields)})"
    raise InvalidKey(
        f"{function} was called with a {kind.__name__}, which cannot be part of a key: give "
        "cached(key=...) a function that makes the key from the arguments"
    )
