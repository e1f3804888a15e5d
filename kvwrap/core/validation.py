"""Checks of arguments: each function returns the checked value, or raises a typed error."""

from __future__ import annotations

import difflib
import inspect
import os
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from kvwrap.core.primitives import CALLS
from kvwrap.core.reserved import RESERVED, RESERVED_END
from kvwrap.errors import ConfigurationError, InvalidBatch, InvalidKey, InvalidValue


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the most similar known name, or all of them."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(choices)}"


def check_call(
    called: str, signature: inspect.Signature, args: Sequence[object], given: Iterable[str]
) -> None:
    """Check the names of the arguments of a call, and that none is missing.

    Args:
        called: What is called, for the error.
        signature: Its signature.
        args: The arguments by position.
        given: The names of those by name.

    Raises:
        TypeError: An argument has a name that there is not: with the most similar one. Or one that
            has no default is missing: with an example.
    """
    parameters, names = signature.parameters, set(given)
    by_position = 0
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.kind is not parameter.KEYWORD_ONLY and by_position < len(args):
            by_position += 1
        elif parameter.default is parameter.empty and name not in names:
            _refuse_unknown(called, signature, names)  # it may be there under a wrong name
            example = f", such as {_EXAMPLES[name]}" if name in _EXAMPLES else ""
            raise TypeError(f"{called}() must have the argument {name!r}{example}; it is missing")
    _refuse_unknown(called, signature, names)


def _is_open(signature: inspect.Signature) -> bool:
    """Return True if a call may have arguments of any name."""
    return any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())


def _refuse_unknown(called: str, signature: inspect.Signature, given: Iterable[str]) -> None:
    if _is_open(signature):
        return
    parameters = signature.parameters
    for name in given:
        if name not in parameters:
            meant = _PARAMETER_SYNONYMS.get(name, name)
            hint = suggest(meant, parameters) if parameters else "it takes none"
            raise TypeError(f"{called}() has no argument {name!r}: {hint}")


_EXAMPLES = {
    "keyring": "Keyring.from_env('SESSION_KEYS')",
    "near": "MemoryStore(max_entries=10_000)",
    "other": "SQLiteStore('other.db')",
}
"""What to give for arguments that cannot be left out."""

_PARAMETER_SYNONYMS = {"maxsize": "max_entries", "max_size": "max_entries"}
"""Parameters by what they are called in other caches."""


# -- arguments of the methods of a store -----------------------------------------------------


def is_reserved(name: str | None) -> bool:
    """Return True if a collection or key is reserved for the records of layers."""
    return name is not None and name.startswith(RESERVED)


def may_be_reserved(prefix: str) -> bool:
    """Return True if names that begin with this text may be, or are, reserved ones."""
    return prefix.startswith(RESERVED) or RESERVED.startswith(prefix)


def checked_key(key: object) -> str:
    """Return the key as a plain `str`; raises `InvalidKey` if it cannot be a user's key."""
    return _not_reserved(_checked_text(key, "key"), "key")


def checked_collection(collection: object) -> str | None:
    """Return the collection as a plain `str` or `None`; raises `InvalidKey` otherwise."""
    if collection is None or (
        # The common case, decided at once.
        type(collection) is str
        and collection.isascii()
        and not RESERVED <= collection < RESERVED_END
        and collection
    ):
        return collection
    return _not_reserved(_checked_text(collection, "collection"), "collection")


def checked_keys(keys: Iterable[str]) -> list[str]:
    """Return the keys of a batch as a list of plain `str`.

    A single string is refused: its characters are rarely meant as keys.
    """
    if isinstance(keys, str | bytes):
        raise InvalidBatch(
            f"`keys` must be a sequence of keys; got a single {type(keys).__name__}: use [key]"
        )
    try:
        batch = list(keys)
    except TypeError:
        raise InvalidBatch(
            f"`keys` must be a sequence of keys, such as ['a', 'b']; got {type(keys).__name__}"
        ) from None
    if set(map(type, batch)) <= {str} and all(batch):
        # The common case, decided for all keys at once: a large batch is checked in one go.
        text = "".join(batch)
        if text.isascii() and RESERVED not in text:
            return batch
    for index, key in enumerate(batch):
        if type(key) is not str or not key or not key.isascii() or RESERVED <= key < RESERVED_END:
            batch[index] = checked_key(key)
    return batch


def checked_values(values: Iterable[Any], length: int) -> list[Any]:
    """Return the values of a batch of this many keys as a list.

    A string or mapping is refused: its characters or its keys are rarely meant as values.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        hint = ": use list(mapping.values())" if isinstance(values, Mapping) else ""
        raise InvalidBatch(
            f"`values` must be a sequence of values; got {type(values).__name__}{hint}"
        )
    batch = list(values)
    if len(batch) != length:
        raise InvalidBatch(
            f"`keys` and `values` must have the same length; got {length} keys and {len(batch)} "
            "values. Nothing was written"
        )
    return batch


def checked_limit(limit: object) -> int | None:
    """Return the maximum number of results, at least 0, or `None`; raises `InvalidValue`."""
    if limit is None:
        return None
    if type(limit) is not int:
        raise InvalidValue(f"`limit` must be an int or None; got {type(limit).__name__}")
    return max(0, limit)


def checked_bound(text: object, name: str) -> str:
    """Return a prefix or a bound of a key range as a plain `str`, which may be empty."""
    return "" if text == "" else _checked_text(text, name)


def _not_reserved(name: str, kind: str) -> str:
    if name.startswith(RESERVED):
        raise InvalidKey(
            f"a {kind} must not begin with {RESERVED!r}, which is reserved for the records of "
            f"layers; got {name!r}: choose another name"
        )
    return name


def _checked_text(text: object, name: str) -> str:
    if not isinstance(text, str):
        hint = _HINTS.get(type(text), "")
        raise InvalidKey(f"a {name} must be a str; got {type(text).__name__}{hint}")
    if not text:
        raise InvalidKey(f"a {name} must have at least one character; got ''")
    # str() of an instance of a subclass, such as a StrEnum member, may differ from its content.
    plain = str.__str__(text) if type(text) is str else "".join(text)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise InvalidKey(
            f"a {name} must be valid Unicode, without lone surrogates; got {plain!r}"
        ) from None
    return plain


_HINTS: Mapping[type, str] = {
    int: ": convert it with str()",
    bytes: ": convert it with .decode()",
}


# -- arguments of stores and layers ----------------------------------------------------------


def checked_operations(names: object) -> frozenset[str]:
    """Return a set of names of primitives; raises `ConfigurationError` for other names."""
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise ConfigurationError(
            f"`operations` must be a list of names such as ['read']; got {names!r}"
        )
    operations = tuple(cast("Iterable[str]", names))
    for name in operations:
        if name not in CALLS:
            raise ConfigurationError(
                f"no operation is called {name!r}: {suggest(str(name), CALLS)}"
            )
    return frozenset(operations)


def checked_errors(classes: object, name: str) -> tuple[type[Exception], ...]:
    """Return one or several exception classes as a tuple; raises `ConfigurationError`."""
    several = isinstance(classes, tuple | list | set | frozenset)
    checked = tuple(cast("Iterable[Any]", classes)) if several else (classes,)
    if not checked or not all(isinstance(c, type) and issubclass(c, Exception) for c in checked):
        raise ConfigurationError(
            f"`{name}` must be one or several exception classes, such as (StoreUnavailable,); "
            f"got {classes!r}"
        )
    return checked


def matches(
    error: Exception, classes: tuple[type[Exception], ...], unless: tuple[type[Exception], ...]
) -> bool:
    """Return True if the error is an instance of one of the classes.

    An instance of a class in `unless` matches only if its own class is one of the classes.
    """
    return isinstance(error, classes) and (not isinstance(error, unless) or type(error) in classes)


def checked_seconds(value: object, name: str, *, zero: bool = False) -> float:
    """Return a finite number of seconds above 0, or also 0; raises `ConfigurationError`."""
    return checked_number(value, name, zero=zero, unit=" of seconds")


def checked_number(value: object, name: str, *, zero: bool = False, unit: str = "") -> float:
    """Return a finite number above 0, or also 0; raises `ConfigurationError`."""
    # Compared before the conversion: some integers are too large for a float.
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (0 < value <= sys.float_info.max or (zero and value == 0))
    ):
        return float(value)
    minimum = "at least 0" if zero else "above 0"
    raise ConfigurationError(f"`{name}` must be a finite number{unit} {minimum}; got {value!r}")


def checked_share(value: object, name: str) -> float:
    """Return a number from 0 to 1; raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigurationError(f"`{name}` must be a number from 0 to 1; got {value!r}")
    return float(value)


def checked_count(value: object, name: str) -> int:
    """Return an int above 0; raises `ConfigurationError`."""
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"`{name}` must be an int above 0; got {value!r}")
    return value


def checked_flag(value: object, name: str) -> bool:
    """Return True or False; raises `ConfigurationError` for anything else, such as "false"."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"`{name}` must be True or False; got {value!r}")
    return value


def checked_rng(rng: object) -> random.Random:
    """Return a random number generator, a new one for None; raises `ConfigurationError`."""
    if rng is None:
        return random.Random()
    if not callable(getattr(rng, "random", None)) or not callable(getattr(rng, "uniform", None)):
        raise ConfigurationError(f"`rng` must be a random.Random; got {type(rng).__name__}")
    return cast("random.Random", rng)


def checked_call(function: Any, name: str) -> Any:
    """Return a function or None; raises `ConfigurationError` for what cannot be called."""
    if function is not None and not callable(function):
        raise ConfigurationError(f"`{name}` must be a function; got {type(function).__name__}")
    return function


def has_method(obj: object, name: str) -> bool:
    """Return True if an object has a method, whatever it raises if asked for one that it lacks."""
    try:
        return callable(getattr(obj, name, None))
    except Exception:  # of a foreign object
        return False


def checked_names(names: object, name: str, *, default: bool = False) -> tuple[Any, ...]:
    """Return several names as a tuple, with `default` also None; raises `ConfigurationError`."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise ConfigurationError(f"`{name}` must be a list of names such as ['a']; got {names!r}")
    checked = tuple(names)
    for item in checked:
        if not (default and item is None) and not is_name(item):
            raise ConfigurationError(
                f"`{name}` must contain non-empty str of valid Unicode only; got {item!r}"
            )
    return checked


def is_name(text: object) -> bool:
    """Return True for a `str` with characters, all of which can be encoded as UTF-8."""
    if not isinstance(text, str) or not text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def path_text(path: object) -> str | None:
    """Return the path of a file or folder as a `str`, or None for what cannot be one."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        return None
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return None
    return text


def checked_name(text: object, name: str) -> str:
    """Return a part of keys or collections as a plain `str`; raises `ConfigurationError`."""
    try:
        return _checked_text(text, name)
    except InvalidKey:
        raise ConfigurationError(
            f"`{name}` must be a non-empty str of valid Unicode; got {text!r}"
        ) from None


def checked_place(collection: object, name: str) -> str:
    """Return the collection that a layer or store is made with; raises `ConfigurationError`."""
    try:
        return _not_reserved(checked_name(collection, name), "collection")
    except InvalidKey as error:  # reserved for the records of layers, and hidden
        raise ConfigurationError(error.message) from None


def checked_prefix(text: object, name: str) -> str:
    """Return what a layer puts before names, as a plain `str`; raises `ConfigurationError`.

    With it, no name that a user chooses becomes a reserved one.
    """
    prefix = checked_name(text, name)
    if may_be_reserved(prefix):
        raise ConfigurationError(
            f"`{name}` must not make names that begin with {RESERVED!r}, which are reserved for "
            f"the records of layers; got {prefix!r}: end it with a separator"
        )
    return prefix
