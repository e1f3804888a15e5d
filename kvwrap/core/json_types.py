"""Exact JSON types: the check that a value would load unchanged, and the path of what would not."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import re
import uuid
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import msgspec

DEEPEST = 500
"""Levels of lists and mappings that a value may have.

Far below Python's recursion limit of 1,000 calls: what the interpreter runs in between, such as
the end of an object, would fail at the limit, and unseen.
"""
_ATOMS = frozenset({str, int, bool, NoneType})
_FIELD = re.compile(r"[^\W\d]{1,30}\d{0,2}")
"""Keys that a path shows: they look like names of fields, and not like identifiers or tokens."""
_LONGEST_PATH = 20
"""Keys and indexes of the longest path that is shown whole."""


_NOTHING: Any = object()
_name_of = type.__dict__["__name__"].__get__


def type_name(value: object) -> str:
    """Return the name of the value's type, without asking a metaclass, which may raise."""
    name: str = _name_of(type(value))
    return name


class NotPlain(Exception):
    """A part of a value is not of an exact JSON type.

    Attributes:
        problem: What is wrong with the part.
        hint: What to do instead.
    """

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint
        self._steps: list[str] = []

    def add_step(self, step: str | int) -> None:
        """Prepend a key or an index to the path of the part."""
        self._steps.append(path_step(step))

    @property
    def path(self) -> str:
        """The path of the part, as an expression on `value`."""
        return path_of(self._steps[::-1])


def path_step(step: str | int) -> str:
    """Return the text of a key or an index in a path.

    Keys are shown only if they look like names of fields. Others may be data.
    """
    shown = isinstance(step, int) or _FIELD.fullmatch(step) is not None
    return f"[{step!r}]" if shown else "[...]"


def path_of(steps: list[str]) -> str:
    """Return the expression on `value` for these steps, shortened if it is long."""
    if len(steps) > _LONGEST_PATH:
        steps = ["[...]", *steps[-_LONGEST_PATH:]]
    return f"value{''.join(steps)}"


def is_flat(value: Any) -> bool:
    """Return True for a text, integer, bool or None, and for a dict of at most two of them.

    These are checked in less time than by an encoder, which copies a long text.
    """
    kind = type(value)
    if kind is not dict:
        return kind in _ATOMS
    if len(value) > 2:
        return False
    for key, item in value.items():
        if type(key) is not str or type(item) not in _ATOMS:
            return False
    return True


def is_plain(value: Any, also: type | None, levels: int = DEEPEST) -> bool:
    """Return True if the value has only exact JSON types, and those of type `also`.

    False means that `to_plain` decides. A value of more levels raises `RecursionError`.
    """
    if not levels:
        raise RecursionError
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        value = (value,)
    for item in value:
        kind = type(item)
        if kind in _ATOMS:
            continue
        if kind is float:
            # Only NaN and the infinities differ from themselves by anything but 0.
            if item - item != 0:
                return False
        elif kind is dict or kind is list or kind is tuple:
            if not is_plain(item, also, levels - 1):
                return False
        elif kind is not also:
            return False
    return True


def to_plain(value: Any, also: type | None, levels: int = DEEPEST) -> Any:
    """Return a copy of the value in exact JSON types; raises `NotPlain` if that is impossible.

    A mapping or sequence that shows other items than it holds is refused: which of them is meant
    is not known. A value of more levels raises `RecursionError`.
    """
    kind = type(value)
    if kind in _ATOMS or kind is also:
        return value
    if kind is float:
        if value - value == 0:
            return value
        raise NotPlain("is NaN or infinite", "store None or a str instead")
    if not levels:
        raise RecursionError
    if isinstance(value, Mapping):
        copy = {}
        own: Any = dict if kind is not dict and isinstance(value, dict) else None
        for key, item in value.items():
            if type(key) is not str:
                raise NotPlain(f"has a key of type {type_name(key)}", "convert the keys to str")
            if own is not None and own.get(value, key, _NOTHING) is not item:
                raise _disguised()
            try:
                copy[key] = to_plain(item, also, levels - 1)
            except NotPlain as refusal:
                refusal.add_step(key)
                raise
        if own is not None and own.__len__(value) != len(copy):
            raise _disguised()
        return copy
    if isinstance(value, list | tuple):
        items = []
        base: Any = list if isinstance(value, list) else tuple
        held = base.__iter__(value)
        for index, item in enumerate(value):
            if next(held, _NOTHING) is not item:
                raise _disguised()
            try:
                items.append(to_plain(item, also, levels - 1))
            except NotPlain as refusal:
                refusal.add_step(index)
                raise
        if next(held, _NOTHING) is not _NOTHING:
            raise _disguised()
        return items
    raise NotPlain(f"is of type {type_name(value)}", _hint(value, also))


def _disguised() -> NotPlain:
    return NotPlain("shows other items than it holds", "copy those that you mean to a dict or list")


def _hint(value: Any, also: type | None) -> str:
    kind = type(value)
    if isinstance(value, enum.Enum):
        return "store its `.value`"
    for atom in (str, int, float):
        if isinstance(value, atom):
            return f"convert it with {atom.__name__}()"
    if isinstance(value, bytes | bytearray | memoryview):
        return (
            "convert it with bytes()" if also is bytes else "add .serialize('msgpack') to the stack"
        )
    if isinstance(value, datetime.date | datetime.time):
        return (
            "store its isoformat(), or put instances of a model through store.typed(Model) or "
            "cached(model=Model)"
        )
    if isinstance(value, datetime.timedelta):
        return "store its total_seconds()"
    if isinstance(value, uuid.UUID | decimal.Decimal | pathlib.PurePath):
        return "convert it with str()"
    if isinstance(value, set | frozenset):
        return "convert it with list() or sorted()"
    if not isinstance(value, type) and (
        dataclasses.is_dataclass(value)
        or isinstance(value, msgspec.Struct)
        or hasattr(kind, "__pydantic_validator__")
    ):
        return f"put it through store.typed({kind.__name__}), or cached(model={kind.__name__})"
    return "convert it to str, int, float, bool, None, list or dict, or choose another serializer"


def find_path(value: Any, is_wrong: Callable[[Any], bool]) -> str:
    """Return the path of the first key or atom that is wrong, or "value" if all are right."""
    steps = _find(value, is_wrong)
    return path_of(steps or [])


def _find(value: Any, is_wrong: Callable[[Any], bool]) -> list[str] | None:
    if isinstance(value, Mapping):
        if any(is_wrong(key) for key in value):
            return []
        pairs: Any = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    else:
        return [] if is_wrong(value) else None
    for step, item in pairs:
        inner = _find(item, is_wrong)
        if inner is not None:
            return [path_step(step), *inner]
    return None
