"""Stacks from TOML files and from mappings of the same structure.

    store = "redis://localhost:6379/0"

    [[layers]]
    type = "statistics"
    name = "sessions"

    [[layers]]
    type = "encrypt"
    keyring = { env = "SESSION_KEYS" }

A file may also have several stacks, each a table under a name of its own:

    [sessions]
    store = "redis://localhost:6379/0"

    [rates]
    store = "sqlite:///rates.db"

`docs/config.md` describes the format.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvwrap.builder import Stack
from kvwrap.config.places import Places
from kvwrap.config.reader import PARTS, Reader
from kvwrap.config.references import read_text
from kvwrap.core.store import Store
from kvwrap.core.text import printable
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError

Source = str | os.PathLike[str] | Mapping[str, Any]
"""A configuration: the path of a TOML file, or the content of such a file."""


def from_config(source: Source, *, name: str | None = None, python: bool = False) -> Store:
    """Build the store that a configuration describes. Nothing is opened.

    Args:
        source: The path of a TOML file, or a mapping of the same structure. Relative paths in a
            file go by its folder, and those in a mapping by the current one.
        name: The name of the stack, if the configuration has several.
        python: Whether references to Python code, `{python = "package.module:name"}`, are
            followed. Importing runs code: only for configurations that are trusted like code.

    Raises:
        ConfigurationError: The configuration has a mistake: the message says where, and suggests
            the closest known name. A reference cannot be followed, or the stack cannot work. No
            message contains what a reference leads to.

    Warns:
        StackWarning: The order of the layers is a known mistake.
    """
    table = read_config(source, name)
    reader = Reader(python)
    store = reader.read_store(table)
    for warning in reader.warnings:
        warnings.warn(str(warning.message), warning.category, stacklevel=2)
    return store


def stack_from_config(source: Source, *, python: bool = False) -> Stack:
    """Build the layers that a configuration describes, to be put over stores in code.

    The arguments and errors are those of `from_config`. The configuration has `layers` and
    `silence`, but no `store`.
    """
    table = _settled(source, _read(source))
    if "store" in table:
        raise ConfigurationError("the configuration has a store: use from_config")
    reader = Reader(python)
    layers = reader.read_stack(table)
    for warning in reader.warnings:
        warnings.warn(str(warning.message), warning.category, stacklevel=2)
    return layers


def read_config(source: Source, name: str | None = None) -> Mapping[str, Any]:
    """Return the table of one stack, as `from_config` reads it, with absolute paths if of a file.

    Raises:
        ConfigurationError: The configuration cannot be read, or has no stack of this name, or has
            several and no name was given.
    """
    table = _read(source)
    names = _names(table)
    if name is None:
        if len(names) < 2:
            return _settled(source, next((table[each] for each in names), table))
        raise ConfigurationError(
            f"the configuration has {len(names)} stacks: choose one by its name, of "
            + ", ".join(map(repr, names))
        )
    if not names:
        raise ConfigurationError(
            f"the configuration has one stack, without a name; got the name {name!r}: leave it out"
        )
    if name not in names:
        raise ConfigurationError(f"there is no stack {name!r}: {suggest(name, names)}")
    return _settled(source, table[name])


def _settled(source: Source, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table of a stack, whose relative paths go by the folder of its file."""
    if isinstance(source, Mapping):
        return table
    return Places(Path(os.fsdecode(source)).parent).settle(table)


def stack_names(source: Source) -> list[str]:
    """Return the names of the stacks of a configuration; none if it has one without a name.

    Raises:
        ConfigurationError: The configuration cannot be read.
    """
    return _names(_read(source))


def _names(table: Mapping[str, Any]) -> list[str]:
    if any(part in table for part in PARTS):
        return []
    for name, stack in table.items():
        if isinstance(stack, Mapping) and "store" not in stack:
            _refuse_misspelt(name, stack)
    return [
        name for name, stack in table.items() if isinstance(stack, Mapping) and "store" in stack
    ]


def _refuse_misspelt(name: str, stack: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` if a table without `store` was meant to be a stack."""
    others = [part for part in stack if part not in PARTS]
    for part in others:
        if difflib.get_close_matches(str(part), ["store"], n=1, cutoff=0.75):
            raise ConfigurationError(
                f"{name}.{part}: a configuration has no such part: did you mean 'store'?"
            )
    if len(others) < len(stack):
        raise ConfigurationError(f'{name}: the stack has no store: add store = "redis://..."')


def _read(source: Source) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | os.PathLike):
        raise ConfigurationError(
            "a configuration must be a mapping or the path of a TOML file, got "
            f"{type(source).__name__}"
        )
    path = os.fspath(source)
    shown = printable(os.fsdecode(path))
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot read the configuration {shown} ({type(error).__name__})"
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{shown} is not valid TOML: {error}") from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or thousands of brackets.
        raise ConfigurationError(f"{shown} is not valid TOML ({type(error).__name__})") from None
