"""Checks of what users pass in: each returns the value, or raises a typed error."""

from __future__ import annotations

import difflib
import random
import sys
from collections.abc import Iterable, Mapping
from typing import Any, cast

from kvwrap.core.primitives import PRIMITIVES
from kvwrap.errors import ConfigurationError, InvalidBatch, InvalidKey, InvalidValue


def suggest(name: str, known: Iterable[str]) -> str:
    """The sentence that suggests the likeliest name meant, or lists what there is."""
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(choices)}"


def checked_key(key: object) -> str:
    """The key as a plain `str`; raises `InvalidKey` for anything that cannot be one."""
    return _checked(key, "key")


def checked_collection(collection: object) -> str | None:
    """The collection as a plain `str` or `None`; raises `InvalidKey` otherwise."""
    return None if collection is None else _checked(collection, "collection")


def checked_keys(keys: Iterable[str]) -> list[str]:
    """The keys of a batch; a bare string is refused, since its letters are rarely meant."""
    if isinstance(keys, str | bytes):
        raise InvalidBatch("a batch takes a sequence of keys, not a single string: use [key]")
    try:
        batch = list(keys)
    except TypeError:
        raise InvalidBatch(f"a batch takes a sequence of keys, not {type(keys).__name__}") from None
    for index, key in enumerate(batch):
        if type(key) is not str or not key or not key.isascii():
            batch[index] = _checked(key, "key")
    return batch


def checked_values(values: Iterable[Any], wanted: int) -> list[Any]:
    """The values of a batch, as many as its keys.

    A string or mapping is refused: its letters or its keys are rarely meant.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidBatch(f"a batch takes a sequence of values, not {type(values).__name__}")
    batch = list(values)
    if len(batch) != wanted:
        raise InvalidBatch(f"{wanted} keys and {len(batch)} values: nothing was written")
    return batch


def checked_limit(limit: object) -> int | None:
    """How many at most; nothing is below 0."""
    if limit is None:
        return None
    if type(limit) is not int:
        raise InvalidValue(f"a limit is a whole number or None, not {type(limit).__name__}")
    return max(0, limit)


def checked_bound(text: object, what: str) -> str:
    """A prefix or an end of a range as a plain `str`, which may be empty."""
    return "" if text == "" else _checked(text, what)


def _checked(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise InvalidKey(f"a {what} is a string, not {type(name).__name__}")
    if not name:
        raise InvalidKey(f"a {what} has at least one character")
    # A subclass (a StrEnum member, say) may print as something else than it compares.
    plain = str.__str__(name) if type(name) is str else "".join(name)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise InvalidKey(f"a {what} is valid Unicode, without lone surrogates: {plain!r}") from None
    return plain


def checked_operations(names: object) -> frozenset[str]:
    """Names of primitives; raises `ConfigurationError` for others."""
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise ConfigurationError(f"operations are several names, as in ['read'], not {names!r}")
    found = tuple(cast("Iterable[str]", names))
    for name in found:
        if name not in PRIMITIVES:
            raise ConfigurationError(
                f"no operation is called {name!r}: {suggest(str(name), PRIMITIVES)}"
            )
    return frozenset(found)


def checked_errors(kinds: object, name: str) -> tuple[type[Exception], ...]:
    """Classes of errors, one or several; raises `ConfigurationError` for anything else."""
    found = tuple(kinds) if isinstance(kinds, tuple | list | set | frozenset) else (kinds,)
    if not found or not all(isinstance(k, type) and issubclass(k, Exception) for k in found):
        raise ConfigurationError(f"{name} names classes of exceptions, not {kinds!r}")
    return found


def matches(
    error: Exception, kinds: tuple[type[Exception], ...], unless: tuple[type[Exception], ...]
) -> bool:
    """Whether an error is of these kinds, and of none of those that must be named to count."""
    return isinstance(error, kinds) and (not isinstance(error, unless) or type(error) in kinds)


def checked_seconds(value: object, name: str, *, zero: bool = False) -> float:
    """A finite number of seconds above 0, or from 0; raises `ConfigurationError` otherwise."""
    return checked_number(value, name, zero=zero, unit=" of seconds")


def checked_number(value: object, name: str, *, zero: bool = False, unit: str = "") -> float:
    """A finite number above 0, or from 0; raises `ConfigurationError` otherwise."""
    # Compared before it is converted: there are integers that no float can hold.
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (0 < value <= sys.float_info.max or (zero and value == 0))
    ):
        return float(value)
    least = "from 0" if zero else "above 0"
    raise ConfigurationError(f"{name} is a finite number{unit} {least}, not {value!r}")


def checked_share(value: object, name: str) -> float:
    """A share from 0 to 1; raises `ConfigurationError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name} is a share from 0 to 1, not {value!r}")
    return float(value)


def checked_count(value: object, name: str) -> int:
    """A whole number above 0; raises `ConfigurationError` otherwise."""
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} is a whole number above 0, not {value!r}")
    return value


def checked_flag(value: object, name: str) -> bool:
    """True or False; raises `ConfigurationError` for anything else, `"false"` above all."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is True or False, not {value!r}")
    return value


def checked_rng(rng: object) -> random.Random:
    """A source of randomness, a new one for None; raises `ConfigurationError` otherwise."""
    if rng is None:
        return random.Random()
    if not callable(getattr(rng, "random", None)) or not callable(getattr(rng, "uniform", None)):
        raise ConfigurationError(f"rng is a random.Random, not {type(rng).__name__}")
    return cast("random.Random", rng)


def checked_call(function: Any, name: str) -> Any:
    """What can be called, or None; raises `ConfigurationError` otherwise."""
    if function is not None and not callable(function):
        raise ConfigurationError(f"{name} is a function, not {type(function).__name__}")
    return function


def checked_names(names: object, name: str, *, default: bool = False) -> tuple[Any, ...]:
    """Several strings, with `default` also None; raises `ConfigurationError` otherwise."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise ConfigurationError(f"{name} are several names, as in ['one'], not {names!r}")
    found = tuple(names)
    for each in found:
        if not (default and each is None) and (not isinstance(each, str) or not each):
            raise ConfigurationError(f"{name} are names, and {each!r} is none")
    return found


def checked_name(name: object, what: str) -> str:
    """What can be part of a key's or collection's name; raises `ConfigurationError` otherwise."""
    try:
        return checked_key(name)
    except InvalidKey:
        raise ConfigurationError(
            f"{what} is a string of at least a character, of valid Unicode, not {name!r}"
        ) from None
