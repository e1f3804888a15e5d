"""Objects that record the arguments of their constructor.

A layer's description is its class and arguments. `over` makes a new instance from them for
every store, so no two stores share a layer's state. `repr`, equality and `to_config` use the
same record.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from kvwrap.core.validation import check_call

_SENSITIVE_NAME = re.compile(
    r"passw(?:or)?d|passphrase|secret|token|(?:api|private)[_-]?key|credential", re.IGNORECASE
)
_QUERY_OPTION = re.compile(r"([?&])([^=&?\s'\"]*)=([^&\s'\"]*)")
_LINE = re.compile(r"[^\n]*")
_DEEPEST = 20


def redacted_repr(name: str, value: Any) -> str:
    """Return the `repr` of the value of the parameter `name`, without secrets.

    Hidden are the values of parameters and the items of dicts whose names are those of secrets,
    such as `password`. In every URL, user and password and the query parameters of such names
    are hidden too.
    """
    if value is not None and is_secret(name):
        return "***"
    return _redacted(value, 0)


def is_secret(name: str) -> bool:
    """Return True if a parameter's name is that of a secret, such as `password`."""
    return _SENSITIVE_NAME.search(name) is not None


def redact(text: str) -> str:
    """Return a message without the secrets of the URLs in it.

    Nothing marks the end of a URL in a text, so user and password are taken to end at the last
    `@` of the line. A URL of its own is hidden more exactly by `redacted_repr`.
    """
    first, *others = text.split("://")
    return "://".join((first, *map(_without_login, others)))


def _redacted(value: Any, depth: int) -> str:
    if isinstance(value, PurePath):
        value = str(value)
    if type(value) is str:
        return repr(_redacted_url(value))
    if depth < _DEEPEST:
        if type(value) is dict:
            items = [
                f"{_redacted(key, depth + 1)}: "
                + ("***" if is_secret(str(key)) else _redacted(item, depth + 1))
                for key, item in value.items()
            ]
            return f"{{{', '.join(items)}}}"
        if type(value) in _BRACKETS and value:
            opening, closing = _BRACKETS[type(value)]
            shown = ", ".join(_redacted(item, depth + 1) for item in value)
            comma = "," if type(value) is tuple and len(value) == 1 else ""
            return f"{opening}{shown}{comma}{closing}"
    return redact(repr(value))


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def _redacted_url(text: str) -> str:
    """Return a URL, which nothing follows, without its secrets; any other text as it is."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    _, at, server = rest.rpartition("@")
    shown = f"***@{server}" if at else rest
    for option in _QUERY_OPTION.finditer(shown):
        if is_secret(unquote(option[2])):
            # To the end, since a password may contain what ends an option.
            shown = f"{shown[: option.start(3)]}***"
            break
    return f"{scheme}://{shown}"


def _without_login(text: str) -> str:
    """Return what follows `://` in a text without the secrets of that URL."""
    line = _LINE.match(text)[0]  # type: ignore[index]  # matches every text
    _, at, server = line.rpartition("@")
    shown = f"***@{server}" if at else line
    return _QUERY_OPTION.sub(_hide_option, shown) + text[len(line) :]


def _hide_option(option: re.Match[str]) -> str:
    return f"{option[1]}{option[2]}=***" if is_secret(unquote(option[2])) else option[0]


class Described:
    """An object that records the arguments of its constructor."""

    _constructor_arguments: tuple[tuple[Any, ...], dict[str, Any]]
    configured: Any = None
    """The description in the configuration that made this object, with references unresolved.

    `None` if no configuration made it.
    """
    data_arguments: ClassVar[frozenset[str]] = frozenset()
    """Names of arguments that are the user's data, which `repr` does not show."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if kwargs:
            check_call(cls.__name__, inspect.signature(cls), args, kwargs)
        self = super().__new__(cls)
        self._constructor_arguments = (args, kwargs)
        return self

    def clone(self) -> Self:
        """Return a new instance with the same arguments."""
        args, kwargs = self._constructor_arguments
        copy = type(self)(*args, **kwargs)
        copy.configured = self.configured
        return copy

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name, as given; omitted arguments are not included.

        The values of a variadic parameter `*names` are a tuple under that name.
        """
        args, kwargs = self._constructor_arguments
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        arguments = dict(bound.arguments)
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(name, {}))
        return arguments

    @property
    def reference(self) -> str:
        """The reference of the configuration to the URL that made this object, or no text."""
        source = self.configured
        while isinstance(source, Mapping) and len(source) == 1:
            ((kind, name),) = source.items()
            if kind in ("env", "file"):
                return f"<{kind} {name}>"
            source = name if kind == "url" else None
        return ""

    def __repr__(self) -> str:
        if self.reference:
            # What a reference leads to is not shown, not even in part.
            return f"{type(self).__name__}({self.reference})"
        arguments = ", ".join(
            f"{name}={'...' if name in self.data_arguments else redacted_repr(name, value)}"
            for name, value in self.arguments.items()
        )
        return f"{type(self).__name__}({arguments})"
