"""Objects that record the arguments of their constructor.

A layer's description is its class and arguments. `over` makes a new instance from them for
every store, so no two stores share a layer's state. `repr`, equality and `to_config` use the
same record.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Self

_SENSITIVE = r"[\w-]*(?:password|passphrase|secret|token|api_?key|credential)[\w-]*"
_SENSITIVE_NAME = re.compile(_SENSITIVE, re.IGNORECASE)
_USERINFO = re.compile(r"://[^\s'\"]*@")
_SENSITIVE_QUERY = re.compile(rf"([?&]{_SENSITIVE}=)[^&\s'\"]+", re.IGNORECASE)


def redacted_repr(name: str, value: Any) -> str:
    """Return the `repr` of the value of the parameter `name`, without secrets.

    Hidden are the values of parameters whose names are those of secrets, such as `password`.
    In every URL, user and password and the query parameters of such names are hidden too.
    """
    if value is not None and _SENSITIVE_NAME.fullmatch(name):
        return "***"
    return redact(repr(value))


def redact(text: str) -> str:
    """Return the text without the secrets of the URLs in it."""
    if "://" not in text:
        return text
    return _SENSITIVE_QUERY.sub(r"\1***", _USERINFO.sub("://***@", text))


class Described:
    """An object that records the arguments of its constructor."""

    _constructor_arguments: tuple[tuple[Any, ...], dict[str, Any]]
    configured: Any = None
    """The description in the configuration that made this object, with references unresolved.

    `None` if no configuration made it.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
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

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={redacted_repr(name, value)}" for name, value in self.arguments.items()
        )
        return f"{type(self).__name__}({arguments})"
