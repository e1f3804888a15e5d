"""Keys of the results of functions: the function, what it is bound to, and its arguments."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import dis
import enum
import functools
import hashlib
import inspect
import pathlib
import types
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kvwrap.errors import ConfigurationError, InvalidKey

_LONGEST = 150
"""Characters of a readable key; longer ones end in a hash, for backends with short keys."""

_WAY_OUT = (
    "pass cached(key=...) a function that makes the key from the arguments, such as "
    "key=lambda self, number: f'{self.name}/{number}'"
)


class FunctionKey:
    """Makes a key for each combination of arguments of a function.

    The key has the function's full name, what its closure and those of functions around it hold,
    the arguments of partials, and the arguments of the call. Different ones have different keys.
    Of a variable that a function itself assigns (`nonlocal`), the key has the first value.

    Raises:
        ConfigurationError: A closure holds something that cannot be part of a key.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        bound_args: tuple[Any, ...] = ()
        bound_kwargs: dict[str, Any] = {}
        while isinstance(function, functools.partial):
            bound_args = (*function.args, *bound_args)
            bound_kwargs = {**function.keywords, **bound_kwargs}
            function = function.func
        self.name = _name_of(function)
        self._args, self._kwargs = bound_args, bound_kwargs
        # Of the function itself and not of one that it wraps, whose arguments may be others.
        self._signature = _signature_of(function, self.name)
        self._surroundings: Callable[[], str] | None = None
        if getattr(function, "__closure__", None):
            self._surroundings = _Surroundings(function, self.name).text
            try:
                self._surroundings()
            except InvalidKey as error:
                raise ConfigurationError(error.message) from None

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        """Return the key for these arguments; raises `InvalidKey` if they cannot be in a key."""
        name = self.name
        try:
            bound = self._signature.bind(*self._args, *args, **{**self._kwargs, **kwargs})
        except TypeError as error:
            raise TypeError(f"{name}(): {error}") from None
        bound.apply_defaults()
        arguments = ", ".join(
            text_of(value, f"the argument `{argument}` of {name} is")
            for argument, value in bound.arguments.items()
        )
        surroundings = "" if self._surroundings is None else self._surroundings()
        readable = f"{name}{surroundings}({arguments})"
        if len(readable) <= _LONGEST:
            return readable
        return f"{name[:_LONGEST]}#{hashlib.sha256(readable.encode()).hexdigest()}"


class _Surroundings:
    """What the closures of a function, and of functions in them, hold."""

    def __init__(self, function: Any, name: str) -> None:
        self._function = function
        self._name = name
        self._first: dict[tuple[Any, str], str] = {}
        self._assigned: dict[Any, set[str]] = {}

    def text(self) -> str:
        """Return the names and values in brackets; empty if there are none."""
        return self._of(self._function, ())

    def _of(self, function: Any, seen: tuple[Any, ...]) -> str:
        seen = (*seen, function)
        if function not in self._assigned:
            self._assigned[function] = _assigned_by(function)
        texts = []
        for name, value in _cells(function):
            if name == "__class__":  # of `super()`; the function's name has the class's
                continue
            text = self._first.get((function, name))
            if text is None:
                text = self._constant(value, f"the variable {name!r} around {self._name} is", seen)
                if name in self._assigned[function]:
                    self._first[function, name] = text
            texts.append(f"{name}={text}")
        return f"[{', '.join(texts)}]" if texts else ""

    def _defaults_of(self, function: types.FunctionType, subject: str) -> str:
        """Return the defaults of a function in the closure; calls of it may rest on them."""
        texts = [text_of(value, subject) for value in function.__defaults__ or ()]
        for name, value in (function.__kwdefaults__ or {}).items():
            texts.append(f"{name}={text_of(value, subject)}")
        return f"({', '.join(texts)})" if texts else ""

    def _constant(self, value: Any, subject: str, seen: tuple[Any, ...]) -> str:
        """Return a text of a function, of a module, or of what never changes."""
        value = getattr(value, "cached_function", value)
        if isinstance(value, functools.partial):
            inner = self._constant(value.func, subject, seen)
            return f"{inner}({text_of(value.args, subject)}, {text_of(value.keywords, subject)})"
        if isinstance(value, types.FunctionType):
            is_known = any(value is each for each in seen)
            if is_known:
                return _name_of(value)
            return _name_of(value) + self._defaults_of(value, subject) + self._of(value, seen)
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, list | set | dict | bytearray):
            raise InvalidKey(
                f"{subject} {_with_article(type(value))}, which may change and cannot be part of a "
                f"key: {_WAY_OUT}"
            )
        return text_of(value, subject)


_SHARED_NAMES = ("<lambda>", "_")
"""Names that several functions of one scope usually have."""


def _name_of(function: Any) -> str:
    """Return the full name of a function; raises `ConfigurationError` if others may share it."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise ConfigurationError(
            f"a cached function must have a name; a {type(function).__name__} has none: {_WAY_OUT}"
        )
    if name.rpartition(".")[2] in _SHARED_NAMES:
        raise ConfigurationError(
            "a cached lambda needs `key=`: all lambdas of a scope have the same name. So does one "
            f"in the closure, and a function named `_`; got {module}.{name}: name it, or {_WAY_OUT}"
        )
    return f"{module}.{name}"


def _signature_of(function: Any, name: str) -> inspect.Signature:
    for follows in (False, True):  # such as of `functools.lru_cache`, which has none of its own
        try:
            return inspect.signature(function, follow_wrapped=follows)
        except ValueError:
            continue
    raise ConfigurationError(f"the arguments of {name} are not known to Python: {_WAY_OUT}")


def _with_article(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOUaeiou' else 'a'} {kind.__name__}"


def _cells(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of what a function's closure holds."""
    code = getattr(function, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), function.__closure__ or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _assigned_by(function: Any) -> set[str]:
    """Return the variables around a function that it assigns itself."""
    instructions = dis.get_instructions(function.__code__)
    return {each.argval for each in instructions if each.opname in ("STORE_DEREF", "DELETE_DEREF")}


_LONG_INTEGER = 1_000
"""Bits of an integer from which its text is hexadecimal; Python limits decimal digits."""

_EXACT = (type(None), bool, int, float, str, bytes)
_BY_STR = (uuid.UUID, decimal.Decimal, pathlib.PurePath)
_BY_ISO = (datetime.date, datetime.time)  # a datetime is a date


def text_of(value: Any, subject: str) -> str:
    """Return a text of the value; different values have different texts.

    Args:
        value: The value.
        subject: The beginning of the message for a value that cannot be part of a key.
    """
    kind = type(value)
    if kind is int and value.bit_length() > _LONG_INTEGER:
        return hex(value)
    if kind in _EXACT:
        return ascii(value)
    if kind in (list, tuple):
        inner = ", ".join(text_of(item, subject) for item in value)
        return f"[{inner}]" if kind is list else f"({inner},)"
    if kind in (set, frozenset):
        return f"{{{', '.join(sorted(text_of(item, subject) for item in value))}}}"
    class_name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, Mapping):
        pairs = [f"{text_of(k, subject)}: {text_of(v, subject)}" for k, v in value.items()]
        if not isinstance(value, OrderedDict):  # whose order counts when two are compared
            pairs.sort()
        return f"{'dict' if kind is dict else class_name}{{{', '.join(pairs)}}}"
    is_data = isinstance(value, enum.Enum) or dataclasses.is_dataclass(kind)
    if is_data and "<locals>" in kind.__qualname__:
        raise InvalidKey(
            f"{subject} {_with_article(kind)}, whose class is defined in a function and may be "
            f"another one under the same name in its next call: define the class in a module, "
            f"or {_WAY_OUT}"
        )
    if isinstance(value, enum.Flag):
        return f"{class_name}({value.value})"  # not every combination has a name
    if isinstance(value, enum.Enum):
        return f"{class_name}.{value.name}"
    if isinstance(value, _BY_STR):
        return f"{class_name}({str(value)!a})"
    if isinstance(value, _BY_ISO):
        # Zones with an equal offset at one time differ at others.
        zone = getattr(value, "tzinfo", None)
        where = "" if zone is None else f" {zone}"
        return f"{class_name}({value.isoformat() + where!a}{getattr(value, 'fold', 0) or ''})"
    if isinstance(value, datetime.timedelta):
        return f"{class_name}({value.days}, {value.seconds}, {value.microseconds})"
    if isinstance(value, type):
        if "<locals>" not in value.__qualname__:
            return f"{value.__module__}.{value.__qualname__}"
    elif dataclasses.is_dataclass(value):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return f"{class_name}({', '.join(text_of(field, subject) for field in fields)})"
    raise InvalidKey(f"{subject} {_with_article(kind)}, which cannot be part of a key: {_WAY_OUT}")
