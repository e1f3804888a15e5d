"""Filters of searches, with the operators that LangGraph's stores have."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def fits(value: Any, wanted: Any) -> bool:
    """Tell whether a value is what a filter wants.

    Args:
        value: The value of a field; `None` if there is no such field.
        wanted: A value, a mapping of nested fields, or of operators: `$eq`, `$ne`, `$gt`, `$gte`,
            `$lt`, `$lte`. A value that cannot be compared does not fit.

    Raises:
        ValueError: There is no such operator.
    """
    if not isinstance(wanted, Mapping):
        return bool(value == wanted)
    if any(str(name).startswith("$") for name in wanted):
        return all(_compare(value, name, operand) for name, operand in wanted.items())
    return isinstance(value, Mapping) and all(
        fits(value.get(name), each) for name, each in wanted.items()
    )


def _compare(value: Any, name: str, operand: Any) -> bool:
    if name == "$eq":
        return bool(value == operand)
    if name == "$ne":
        return bool(value != operand)
    if name not in _COMPARISONS:
        raise ValueError(
            f"a filter must have the operators $eq, $ne, {', '.join(_COMPARISONS)}; got {name!r}"
        )
    try:
        return _COMPARISONS[name](value, operand)
    except TypeError:
        return False
