"""What a configuration does not say itself but where to find it."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvwrap.errors import ConfigurationError

KINDS = ("env", "file", "python")
"""`{env = "NAME"}`, `{file = "/path"}`, `{python = "package.module:name"}`."""


class Referred(str):
    """A text from the environment or a file; shows where it is from, and never itself.

    Attributes:
        reference: What the configuration says in its place.
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


def is_reference(value: Any) -> bool:
    """Whether a value of a configuration is a reference."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS


def meant(value: Any) -> str:
    """What to say of a value that was to be a reference, by the looks of it, or nothing."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, name),) = value.items()
        near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.5)
        if near and isinstance(name, str):
            return f"no reference is called {kind!r}: did you mean {near[0]!r}?"
    return ""


def text_of(reference: Mapping[str, Any]) -> Referred:
    """The text that an `env` or `file` reference is to; a last line's end is not part of it.

    Raises:
        ConfigurationError: The variable is not set, or the file cannot be read.
    """
    ((kind, name),) = reference.items()
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{{{kind} = ...}} takes a string")
    if kind == "env":
        text = os.environ.get(name)
        if text is None:
            raise ConfigurationError(f"the environment has no {name}: set it, or refer elsewhere")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{name} cannot be read ({type(error).__name__})") from None
    return Referred(text.rstrip("\r\n"), {kind: name})


def object_of(path: Any) -> Any:
    """The object that a `python` reference is to: `package.module:name`, `name` may have dots.

    Raises:
        ConfigurationError: There is none.
    """
    module, colon, names = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not (module and colon and names):
        raise ConfigurationError('{python = ...} takes "package.module:name"')
    try:
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"there is no {path} ({type(error).__name__})") from None
    return found


def python_reference(value: Any) -> dict[str, str] | None:
    """The reference to a function or class that a module holds under its name, or `None`."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not callable(value) or not module or not name or "<" in name:
        return None
    path = f"{module}:{name}"
    try:
        return {"python": path} if object_of(path) is value else None
    except ConfigurationError:
        return None
