"""References in a configuration: to environment variables, files and Python objects."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvwrap.core.text import printable
from kvwrap.errors import ConfigurationError

KINDS = ("env", "file", "python")
"""`{env = "NAME"}`, `{file = "/path"}`, `{python = "package.module:name"}`."""


class Referred(str):
    """A text from the environment or from a file. Its `repr` is the reference, not the text.

    Attributes:
        reference: The table in the configuration that leads to the text.
    """

    __slots__ = ("reference",)
    reference: dict[str, str]

    def __new__(cls, text: str, reference: Mapping[str, str]) -> Referred:
        self = super().__new__(cls, text)
        self.reference = dict(reference)
        return self

    def __repr__(self) -> str:
        ((kind, name),) = self.reference.items()
        return f"<{kind} {name}>"


MAX_FILE_SIZE = 2**20
"""Largest file that a configuration or a reference may be, in bytes."""


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than `MAX_FILE_SIZE` or not UTF-8, or the path is not valid.
    """
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE_SIZE + 1)
    if len(data) > MAX_FILE_SIZE:
        raise ValueError(f"larger than {MAX_FILE_SIZE} bytes")
    return data.decode()


def is_reference(value: Any) -> bool:
    """Return True if a value of a configuration is a reference."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS


def suggest_reference(value: Any) -> str:
    """Return a hint if the value looks like a misspelt reference, otherwise an empty text."""
    if isinstance(value, Mapping) and len(value) == 1:
        (kind,) = value
        near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.5)
        if near and near[0] != kind:
            return f"unknown kind of reference {kind!r}: did you mean {near[0]!r}?"
    return ""


def text_of(reference: Mapping[str, Any]) -> Referred:
    """Return the text of an `env` or `file` reference, without newlines at its end.

    Raises:
        ConfigurationError: The variable is not set, or the file cannot be read.
    """
    ((kind, name),) = reference.items()
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{{{kind} = ...}} must be a string that is not empty")
    if kind == "env":
        try:
            text = os.environ.get(name)
        except UnicodeEncodeError:  # a lone surrogate
            text = None
        if text is None:
            raise ConfigurationError(f"the environment variable {printable(name)} is not set")
    else:
        try:
            text = read_text(name)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"cannot read {printable(name)} ({type(error).__name__})"
            ) from None
    return Referred(text.rstrip("\r\n"), {kind: name})


def object_of(path: Any) -> Any:
    """Return the object of a `python` reference, `package.module:name`; `name` may have dots.

    Raises:
        ConfigurationError: The module or the object does not exist.
    """
    module, colon, names = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not (module and colon and names):
        raise ConfigurationError('{python = ...} must be "package.module:name"')
    try:
        value: Any = importlib.import_module(module)
        for name in names.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"cannot import {path!a} ({type(error).__name__})") from None
    return value


def python_reference(value: Any) -> dict[str, str] | None:
    """Return a reference to a function or class, or None if no module has it by its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not callable(value) or not module or not name or "<" in name:
        return None
    path = f"{module}:{name}"
    try:
        return {"python": path} if object_of(path) is value else None
    except ConfigurationError:
        return None
