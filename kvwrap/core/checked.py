"""What the constructors of layers refuse: each gives its value back, or `ConfigurationError`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

from kvwrap.core.primitives import PRIMITIVES
from kvwrap.core.registry import nearest
from kvwrap.errors import ConfigurationError


def checked_operations(names: object) -> frozenset[str]:
    """Names of primitives; raises `ConfigurationError` for others."""
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise ConfigurationError(f"operations are several names, as in ['read'], not {names!r}")
    found = frozenset(cast("Iterable[str]", names))
    for name in found:
        if name not in PRIMITIVES:
            raise ConfigurationError(
                f"no operation is called {name!r}: {nearest(str(name), PRIMITIVES)}"
            )
    return found


def checked_errors(kinds: object, name: str) -> tuple[type[Exception], ...]:
    """Classes of errors, one or several; raises `ConfigurationError` for anything else."""
    found = tuple(kinds) if isinstance(kinds, tuple | list | set | frozenset) else (kinds,)
    if not found or not all(isinstance(k, type) and issubclass(k, Exception) for k in found):
        raise ConfigurationError(f"{name} names classes of exceptions, not {kinds!r}")
    return found


def concerns(
    error: Exception, kinds: tuple[type[Exception], ...], unless: tuple[type[Exception], ...]
) -> bool:
    """Whether an error is of these kinds, and of none of those that must be named to count."""
    return isinstance(error, kinds) and (not isinstance(error, unless) or type(error) in kinds)


def checked_seconds(value: object, name: str, *, zero: bool = False) -> float:
    """A finite number of seconds above 0, or from 0; raises `ConfigurationError` otherwise."""
    return checked_number(value, name, zero=zero, unit=" of seconds")


def checked_number(value: object, name: str, *, zero: bool = False, unit: str = "") -> float:
    """A finite number above 0, or from 0; raises `ConfigurationError` otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if 0 < number < math.inf or (zero and number == 0):
            return number
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
