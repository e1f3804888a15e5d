"""Conversion of the values of a configuration to the types that constructors annotate."""

from __future__ import annotations

import builtins
import collections.abc
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, SupportsFloat, Union

from kvwrap import errors
from kvwrap.config.references import Referred, is_reference, object_of, suggest_reference, text_of
from kvwrap.core.described import is_secret, redact
from kvwrap.core.nested import StoreSource
from kvwrap.core.serializer import Serializer, serializer_named, serializer_names
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.keyring import Keyring

BY_REFERENCE = "by reference ({env = ...} or {file = ...})"


class Mistake(ConfigurationError):
    """A mistake in a configuration, with its location.

    Attributes:
        path: Location of the value, such as `layers[2].routes.logs`.
        expected: The type that was expected, such as "a number"; empty if the mistake is another.
    """

    def __init__(self, path: str, text: str, expected: str = "") -> None:
        super().__init__(f"{path}: {text}" if path else text)
        self.path = path
        self.expected = expected


class CodeOnly:
    """Replaces a type that only code can create, such as a class of an optional package."""


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor, with their annotations evaluated if possible."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    module = sys.modules[owner.__module__]
    return {
        name: parameter.replace(annotation=_evaluate(parameter.annotation, module))
        for name, parameter in inspect.signature(cls).parameters.items()
    }


def _evaluate(annotation: Any, module: types.ModuleType) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation

    class Names(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            value = getattr(module, name, getattr(builtins, name, None))
            # A name that is imported only for type checkers belongs to an optional package.
            return CodeOnly if value is None and name != "None" else value

    try:
        return eval(annotation, {}, Names())  # noqa: S307  # source code of this process, not data
    except Exception:
        return CodeOnly


def accepts_store(wanted: Any) -> bool:
    """Return True if second stores may be given here, alone or in a collection."""
    return bool(wanted == StoreSource) or any(map(accepts_store, typing.get_args(wanted)))


@contextmanager
def located(path: str, *others: type[Exception]) -> Iterator[None]:
    """Turn an error of kvwrap, or of the `others`, into a `Mistake` with this location.

    A `Mistake` passes unchanged: its location is more exact.
    """
    try:
        yield
    except Mistake:
        raise
    except KvwrapError as error:
        raise Mistake(path, error.message) from None
    except others as error:
        raise Mistake(path, str(error)) from None


class Converter:
    """Converts the values of one configuration.

    Args:
        python: Whether references to Python code are followed.
        store_factory: Returns a factory of the second store that a value describes.
    """

    def __init__(
        self, python: bool, store_factory: Callable[[Any, str], Callable[[], Any]]
    ) -> None:
        self._python = python
        self._store_factory = store_factory
        self._secrets: list[str] = []

    def text(self, reference: Mapping[str, Any]) -> Referred:
        """Return the text of an `env` or `file` reference, and keep it out of all messages."""
        text = text_of(reference)
        self._secrets.append(text)
        return text

    def redact(self, message: str) -> str:
        """Return the message without the texts of references and the secrets of URLs."""
        for secret in self._secrets:
            # Also as `repr` writes it, with quotes and other characters escaped.
            for shown in (str.__repr__(secret)[1:-1], ascii(str(secret))[1:-1], secret):
                if shown.strip():
                    message = message.replace(shown, "***")
        return redact(message)

    def convert(self, value: Any, wanted: Any, path: str) -> Any:
        """Return the value as an argument with this annotation.

        Args:
            wanted: The annotation, evaluated.
            path: Location of the value, for errors.

        Raises:
            Mistake: The value cannot be converted.
        """
        with located(path):
            try:
                if is_reference(value):
                    return self._follow(value, wanted, path)
                return self._convert(value, wanted, path)
            except Mistake:
                if hint := suggest_reference(value):
                    raise Mistake(path, hint) from None
                raise

    def _follow(self, reference: Mapping[str, Any], wanted: Any, path: str) -> Any:
        ((kind, name),) = reference.items()
        if kind == "python":
            if not self._python:
                raise Mistake(
                    path,
                    "references to Python code are refused: pass python=True to from_config if the "
                    "configuration is trusted like code",
                )
            return object_of(name)
        if wanted == StoreSource:
            return self._store_factory(reference, path)
        if any(map(_is_of_keyring, (wanted, *typing.get_args(wanted)))):
            return Keyring.from_env(name) if kind == "env" else Keyring.from_file(name)
        return self._convert(self.text(reference), wanted, path)

    def _convert(self, value: Any, wanted: Any, path: str) -> Any:
        origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
        if wanted == StoreSource:
            return self._store_factory(value, path)
        if origin in (Union, types.UnionType):
            return self._convert_union(value, parts, path)
        if origin is Literal:
            return _choice(value, parts, path)
        if wanted is type or origin is type:
            return _exception_class(value, path)
        kind = origin or wanted
        if wanted is Any or wanted is object or not isinstance(kind, type):
            return value
        if issubclass(kind, collections.abc.Mapping):
            return self._convert_table(value, parts, path)
        if _is_array(kind):
            return self._convert_array(value, kind, parts, path)
        return _scalar(value, kind, path)

    def _convert_union(self, value: Any, parts: tuple[Any, ...], path: str) -> Any:
        if str in parts and isinstance(value, str) and (type(value) is not str or bytes in parts):
            return value
        mistakes = []
        for part in parts:
            try:
                return self.convert(value, part, path)
            except Mistake as mistake:
                mistakes.append(mistake)
        inside = [mistake for mistake in mistakes if mistake.path != path]
        misspelt = [mistake for mistake in mistakes if not mistake.expected]
        if inside or misspelt:
            raise (inside or misspelt)[0]
        expected = dict.fromkeys(mistake.expected for mistake in mistakes)
        raise _unexpected(value, " or ".join(expected), path)

    def _convert_table(self, value: Any, parts: tuple[Any, ...], path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _unexpected(value, "a table", path)
        inner = parts[1] if len(parts) == 2 else Any
        return {str(key): self.convert(v, inner, f"{path}.{key}") for key, v in value.items()}

    def _convert_array(self, value: Any, kind: type, parts: tuple[Any, ...], path: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _unexpected(value, "an array", path)
        if kind is tuple and parts and parts[-1] is not Ellipsis:
            if len(value) != len(parts):
                raise Mistake(path, f"expected an array of {len(parts)}, got one of {len(value)}")
        else:
            parts = (parts[0] if parts else Any,) * len(value)
        items = [
            self.convert(item, part, f"{path}[{index}]")
            for index, (item, part) in enumerate(zip(value, parts, strict=True))
        ]
        return kind(items) if kind in (tuple, set, frozenset) else items


def _is_array(kind: type) -> bool:
    standard = kind.__module__ in ("collections.abc", "builtins")
    return standard and issubclass(kind, Iterable) and kind not in (str, bytes)


def _choice(value: Any, choices: tuple[Any, ...], path: str) -> Any:
    if value in choices:
        return value
    if not isinstance(value, str):
        raise _unexpected(value, " or ".join(map(repr, choices)), path)
    raise Mistake(path, f"unknown value {value!r}: {suggest(value, map(str, choices))}")


def _exception_class(value: Any, path: str) -> type:
    if not isinstance(value, str):
        raise _unexpected(value, "the name of an exception", path)
    cls = getattr(errors, value, getattr(builtins, value, None))
    if isinstance(cls, type) and issubclass(cls, BaseException):
        return cls
    known = [name for name in dir(errors) if name[0].isupper()]
    raise Mistake(path, f"unknown exception {value!r}: {suggest(value, known)}")


_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    type(None): "nothing",
    SupportsFloat: "a number",
    timedelta: "a number",
    bytes: f"text {BY_REFERENCE}",
}
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_PARSERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: _FLAGS[text.lower()],
    int: int,
    float: float,
    SupportsFloat: float,
    bytes: str.encode,
}
"""What reads the text of a reference, by the type that is expected."""


def _scalar(value: Any, wanted: type, path: str) -> Any:
    if wanted is Serializer:
        made = serializer_named(value) if isinstance(value, str) else None
        if made is None:
            raise Mistake(path, f"unknown serializer: {suggest(str(value), serializer_names())}")
        return made
    if isinstance(value, Referred) and wanted in _PARSERS:
        try:
            return _PARSERS[wanted](value)
        except (KeyError, ValueError):
            raise _unexpected(value, _NAMES[wanted], path) from None
    if isinstance(value, str) and (wanted is str or issubclass(wanted, os.PathLike)):
        return value
    if isinstance(value, str) and wanted is bytes and not is_secret(_option(path)):
        return value.encode()
    accepted = (int, float) if wanted in (float, SupportsFloat, timedelta) else (wanted,)
    if wanted in _NAMES and type(value) in accepted:
        return value
    if _is_of_keyring(wanted):
        raise _unexpected(value, f"keys {BY_REFERENCE}", path)
    name = "an object" if wanted is CodeOnly else wanted.__name__
    raise _unexpected(value, _NAMES.get(wanted, f"{name} from code ({{python = ...}})"), path)


def _option(path: str) -> str:
    """Return the name of the option at a location such as `layers[2].secret`."""
    return path.rpartition(".")[2].partition("[")[0]


def _is_of_keyring(wanted: Any) -> bool:
    return isinstance(wanted, type) and wanted.__module__.startswith("kvwrap.keyring")


def _unexpected(value: Any, expected: str, path: str) -> Mistake:
    if isinstance(value, Referred):
        kind = f"the text of {value!r}"
    elif isinstance(value, Mapping):
        kind = "a table"
    elif isinstance(value, list | tuple):
        kind = "an array"
    else:
        kind = _NAMES.get(type(value), type(value).__name__)
    return Mistake(path, f"expected {expected}, got {kind}", expected)
