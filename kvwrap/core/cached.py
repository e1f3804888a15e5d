"""Caching of the results of async functions in a store."""

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

from kvwrap.core.computed import ComputedMethods
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
    """A function whose results are cached in a store; created by `store.cached(...)`."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Return the cached result for these arguments, or the function's, which is then cached."""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of the result for these arguments."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, bool]:
        """Delete the result for these arguments. Returns True if there was one."""


def cached(
    store: ComputedMethods,
    *,
    ttl: TTL | None = None,
    collection: str | None = None,
    key: Callable[..., str] | None = None,
    model: type[Any] | None = None,
) -> Callable[[Callable[P, Awaitable[T]]], CachedFunction[P, T]]:
    """Return a decorator; see `Store.cached`."""
    if ttl is not None:
        checked_ttl(ttl)
    checked_collection(collection)
    if key is not None and not callable(key):
        raise ConfigurationError(
            "`key` must be a function that returns the key for the arguments; got "
            f"{type(key).__name__}"
        )
    view = store if model is None else TypedStore(store, model)

    def decorate(function: Callable[P, Awaitable[T]]) -> CachedFunction[P, T]:
        if not inspect.iscoroutinefunction(inspect.unwrap(function)):
            name = getattr(function, "__qualname__", type(function).__name__)
            raise ConfigurationError(
                f"a cached function must be async; got {name}: declare it with `async def`"
            )
        make_key = _key_function(function) if key is None else key

        def key_of(*args: P.args, **kwargs: P.kwargs) -> str:
            return checked_key(make_key(*args, **kwargs))

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


def _key_function(function: Callable[..., Any]) -> Callable[..., str]:
    """Return a function from arguments to keys: the function's full name, and the arguments."""
    signature = inspect.signature(function)
    name = f"{function.__module__}.{function.__qualname__}"
    first = next(iter(signature.parameters), None)
    if first in ("self", "cls"):
        raise ConfigurationError(
            f"{name} is a method, and its results may depend on the attributes of {first}: pass "
            f"a key, as in cached(key=lambda {first}, ...: ...)"
        )

    def key(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = ", ".join(_text_of(value, name) for value in bound.arguments.values())
        readable = f"{name}({arguments})"
        if len(readable) <= _LONGEST:
            return readable
        return f"{name[:_LONGEST]}#{hashlib.sha256(readable.encode()).hexdigest()}"

    return key


_EXACT = (type(None), bool, int, float, str, bytes)
_BY_STR = (uuid.UUID, decimal.Decimal, pathlib.PurePath)
_BY_ISO = (datetime.date, datetime.time)  # a datetime is a date


def _text_of(value: Any, function: str) -> str:
    """Return a text of the value; different values have different texts."""
    kind = type(value)
    if kind in _EXACT:
        return ascii(value)
    if kind in (list, tuple):
        inner = ", ".join(_text_of(item, function) for item in value)
        return f"[{inner}]" if kind is list else f"({inner},)"
    if kind in (set, frozenset):
        return f"{{{', '.join(sorted(_text_of(item, function) for item in value))}}}"
    if isinstance(value, Mapping):
        pairs = [f"{_text_of(k, function)}: {_text_of(v, function)}" for k, v in value.items()]
        return f"{kind.__name__}{{{', '.join(sorted(pairs))}}}"
    class_name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, enum.Enum):
        return f"{class_name}.{value.name}"
    if isinstance(value, _BY_STR):
        return f"{class_name}({str(value)!a})"
    if isinstance(value, _BY_ISO):
        return f"{class_name}({value.isoformat()!a}{getattr(value, 'fold', 0) or ''})"
    if isinstance(value, datetime.timedelta):
        return f"{class_name}({value.days}, {value.seconds}, {value.microseconds})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return f"{class_name}({', '.join(_text_of(field, function) for field in fields)})"
    raise InvalidKey(
        f"{function} was called with a {kind.__name__}, which cannot be part of a key: pass "
        "cached(key=...) a function that makes the key from the arguments"
    )
