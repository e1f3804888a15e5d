"""Values of a configuration, made into what a constructor's annotations ask for."""

from __future__ import annotations

import builtins
import collections.abc
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, Protocol, SupportsFloat, Union

from kvwrap import errors
from kvwrap.config.references import is_reference, meant, object_of, text_of
from kvwrap.core.nested import StoreSource
from kvwrap.core.serializer import Serializer, serializer_named, serializer_names
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError
from kvwrap.keyring import Keyring


class Mistake(Exception):
    """A value is not what is asked for.

    Attributes:
        path: Where in the configuration, from the value at hand: `[2].name`.
        text: What is wrong, without the value.
    """

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.path = path

    def within(self, step: str) -> Mistake:
        """The same, seen from further out."""
        return Mistake(self.text, step + self.path)


class CodeOnly:
    """In place of a type that a configuration cannot write down."""


class Reading(Protocol):
    """What the conversion of a value may need from whoever reads the configuration."""

    python: bool
    path: str

    def store(self, value: Any) -> Callable[[], Any]:
        """A factory of the second store that this value describes."""

    def secret(self, text: str) -> None:
        """Take note of a text that no error may show."""


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor, their annotations evaluated as far as can be."""
    found = dict(inspect.signature(cls).parameters)
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    module = sys.modules[owner.__module__]
    return {
        name: parameter.replace(annotation=_evaluated(parameter.annotation, module))
        for name, parameter in found.items()
    }


def _evaluated(annotation: Any, module: types.ModuleType) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation

    class Names(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            found = getattr(module, name, getattr(builtins, name, None))
            # What is imported for type checkers alone is an object of some library.
            return CodeOnly if found is None and name != "None" else found

    try:
        return eval(annotation, {}, Names())  # noqa: S307  # source code of this process, not data
    except Exception:
        return CodeOnly


def converted(value: Any, wanted: Any, reading: Reading) -> Any:
    """The value as an argument of this type.

    Raises:
        Mistake: It cannot be one.
    """
    if is_reference(value):
        return _referred(value, wanted, reading)
    try:
        return _converted(value, wanted, reading)
    except Mistake as mistake:
        raise Mistake(meant(value), mistake.path) if meant(value) else mistake from None


def _converted(value: Any, wanted: Any, reading: Reading) -> Any:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted == StoreSource:
        return reading.store(value)
    if wanted is Any or wanted is object or isinstance(wanted, typing.TypeVar):
        return value
    if origin in (Union, types.UnionType):
        return _one_of(value, parts, reading)
    if origin is Literal:
        if value in parts:
            return value
        raise Mistake(f"{value!r} is none of the choices: {suggest(str(value), map(str, parts))}")
    if wanted is type or origin is type:
        return _class(value)
    if isinstance(origin or wanted, type):
        return _instance(value, origin or wanted, parts, reading)
    return value


def _referred(reference: Mapping[str, Any], wanted: Any, reading: Reading) -> Any:
    ((kind, name),) = reference.items()
    if kind == "python":
        if not reading.python:
            raise Mistake(
                "a reference to Python code is followed only by from_config(..., python=True), "
                "for configurations that are trusted like code"
            )
        return object_of(name)
    keys = _keyring(wanted)
    if keys is not None:
        return keys.from_env(name) if kind == "env" else keys.from_file(name)
    text = text_of(reference)
    reading.secret(text)
    if wanted == StoreSource:
        return reading.store(reference)
    for kind_of, read in ((bool, _flag), (int, int), (float, float), (bytes, str.encode)):
        if _takes(wanted, kind_of) and not _takes(wanted, str):
            try:
                return read(text)
            except ValueError:
                raise Mistake(f"what it refers to is no {kind_of.__name__}") from None
    return converted(text, wanted, reading)


def _flag(text: str) -> bool:
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise ValueError


def _takes(wanted: Any, kind: type) -> bool:
    if kind is float and wanted is SupportsFloat:
        return True
    return wanted is kind or any(_takes(part, kind) for part in _choices(wanted))


def _choices(wanted: Any) -> tuple[Any, ...]:
    union = typing.get_origin(wanted) in (Union, types.UnionType)
    return typing.get_args(wanted) if union else ()


def _keyring(wanted: Any) -> Any:
    """The class that reads keys from a reference, where keys are asked for."""
    asked = [part for part in (wanted, *_choices(wanted)) if isinstance(part, type)]
    if not any(part.__module__.startswith("kvwrap.keyring") for part in asked):
        return None
    return Keyring


def _one_of(value: Any, parts: tuple[Any, ...], reading: Reading) -> Any:
    mistakes = []
    for part in parts:
        try:
            return converted(value, part, reading)
        except Mistake as mistake:
            mistakes.append(mistake)
    # The most telling one is that of the part which the value nearly was.
    inner = [mistake for mistake in mistakes if mistake.path]
    if inner:
        raise inner[0]
    choice = [mistake for mistake in mistakes if not mistake.text.startswith("expected ")]
    if choice:
        raise choice[0]
    texts = dict.fromkeys(mistake.text.removeprefix("expected ") for mistake in mistakes)
    wanted = dict.fromkeys(text.partition(", got ")[0] for text in texts)
    raise Mistake(f"expected {' or '.join(wanted)}, got {_kind(value)}")


def _class(value: Any) -> type:
    found = getattr(errors, value, getattr(builtins, value, None)) if _is_text(value) else None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    known = [name for name in dir(errors) if name[0].isupper()]
    raise Mistake(
        f"expected the name of an exception of kvwrap or Python, got {_kind(value)}"
        + (f" {value!r}: {suggest(value, known)}" if _is_text(value) else "")
    )


_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    type(None): "nothing",
}


def _instance(value: Any, wanted: type, parts: tuple[Any, ...], reading: Reading) -> Any:
    if wanted in _NAMES:
        right = isinstance(value, str) if wanted is str else type(value) is wanted
        if right or (wanted is float and type(value) is int):
            return value
        raise Mistake(f"expected {_NAMES[wanted]}, got {_kind(value)}")
    if wanted in (SupportsFloat, timedelta):
        if type(value) in (int, float):
            return value
        raise Mistake(f"expected a number, got {_kind(value)}")
    if wanted in (os.PathLike, bytes) or issubclass(wanted, os.PathLike):
        if _is_text(value) and wanted is not bytes:
            return value
        raise Mistake(f"expected a reference, {{env = ...}} or {{file = ...}}, got {_kind(value)}")
    if wanted is Serializer:
        found = serializer_named(value) if _is_text(value) else None
        if found is None:
            raise Mistake(f"no serializer is called so: {suggest(str(value), serializer_names())}")
        return found
    if issubclass(wanted, collections.abc.Mapping):
        return _table(value, parts, reading)
    if issubclass(wanted, Iterable) and wanted.__module__ in ("collections.abc", "builtins"):
        return _array(value, wanted, parts, reading)
    if wanted.__module__.startswith("kvwrap.keyring"):
        raise Mistake("keys are referred to, {env = ...} or {file = ...}, and not written here")
    raise Mistake(
        f"this is made in code ({wanted.__name__}): build the stack in code, or refer to it by "
        "{python = ...}"
    )


def _table(value: Any, parts: tuple[Any, ...], reading: Reading) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Mistake(f"expected a table, got {_kind(value)}")
    inner = parts[1] if len(parts) == 2 else Any
    return {str(name): _stepping(f".{name}", item, inner, reading) for name, item in value.items()}


def _array(value: Any, wanted: type, parts: tuple[Any, ...], reading: Reading) -> Any:
    if not isinstance(value, list | tuple):
        raise Mistake(f"expected an array, got {_kind(value)}")
    if wanted is tuple and parts and parts[-1] is not Ellipsis:
        if len(value) != len(parts):
            raise Mistake(f"expected an array of {len(parts)}, got one of {len(value)}")
        inner = parts
    else:
        inner = (parts[0] if parts else Any,) * len(value)
    items = [
        _stepping(f"[{place}]", item, each, reading)
        for place, (item, each) in enumerate(zip(value, inner, strict=True))
    ]
    return wanted(items) if wanted in (tuple, set, frozenset) else items


def _stepping(step: str, value: Any, wanted: Any, reading: Reading) -> Any:
    before = reading.path
    reading.path += step
    try:
        return converted(value, wanted, reading)
    except Mistake as mistake:
        raise mistake.within(step) from None
    except ConfigurationError as error:
        if error.message.startswith(reading.path):
            raise
        raise Mistake(error.message, step) from None
    finally:
        reading.path = before


def asks_for_store(wanted: Any) -> bool:
    """Whether second stores may be given here, alone or in a collection."""
    return bool(wanted == StoreSource) or any(map(asks_for_store, typing.get_args(wanted)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "an array"
    return _NAMES.get(type(value), "a string" if _is_text(value) else type(value).__name__)
