"""Stacks written down: as TOML, as plain mappings, as URLs.

    store = "redis://localhost:6379/0"

    [[layers]]
    type = "statistics"
    name = "sessions"

    [[layers]]
    type = "encrypt"
    keyring = { env = "SESSION_KEYS" }

`docs/config.md` has the whole format.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvwrap.builder import Stack
from kvwrap.config.reader import Reader, check_parts
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError

Source = str | os.PathLike[str] | Mapping[str, Any]
"""A configuration: the path of a TOML file, or what such a file holds."""


def from_config(source: Source, *, python: bool = False) -> Store:
    """The store that a configuration describes. Nothing is opened.

    Args:
        source: The path of a TOML file, or a mapping of the same shape.
        python: Whether references to Python code, `{python = "package.module:name"}`, are
            followed. Importing runs code: only for configurations that are trusted like code.

    Raises:
        ConfigurationError: The configuration is not one, with the place and the likeliest name
            meant; a reference leads nowhere; the stack cannot work. Nothing that a reference
            led to is in the message.

    Warns:
        StackWarning: The stack is a known mistake.
    """
    reader = Reader(python)
    table = _read(source)
    check_parts(table, "")
    if "store" not in table:
        raise ConfigurationError(
            'the configuration has no store: write store = "redis://...", or build the layers '
            "alone by stack_from_config"
        )
    return reader.whole(table, "")


def stack_from_config(source: Source, *, python: bool = False) -> Stack:
    """The layers that a configuration describes, to be put over stores in code.

    As `from_config`; the configuration has `layers` and `silence`, and no `store`.
    """
    table = _read(source)
    if "store" in table:
        raise ConfigurationError("the configuration has a store: from_config builds that")
    return Reader(python).stack(table, "")


def _read(source: Source) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | os.PathLike):
        raise ConfigurationError(
            f"a configuration is a mapping or the path of a TOML file, not {type(source).__name__}"
        )
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the configuration {os.fspath(source)} cannot be read ({type(error).__name__})"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{os.fspath(source)} is not TOML: {error}") from None
