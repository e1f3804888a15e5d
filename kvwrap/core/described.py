"""Objects that remember with which arguments they were made.

A layer's description is its class and arguments: `over` makes a fresh instance of
them for every store, so no two stores ever share a layer's state; `repr`, equality
and `to_config` come from the same record.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Self

_HIDDEN = r"[\w-]*(?:password|passphrase|secret|token|api_?key|credential)[\w-]*"
_HIDDEN_NAME = re.compile(_HIDDEN, re.IGNORECASE)
_USERINFO = re.compile(r"://[^\s'\"]*@")
_HIDDEN_QUERY = re.compile(rf"([?&]{_HIDDEN}=)[^&\s'\"]+", re.IGNORECASE)


def redacted_repr(name: str, value: Any) -> str:
    """The value of the parameter of this name as `repr` may show it: without what is secret.

    Hidden are the values of parameters named as secrets are, and, wherever a URL occurs,
    its user and password and the parts of its query that are named so.
    """
    if value is not None and _HIDDEN_NAME.fullmatch(name):
        return "***"
    return redact(repr(value))


def redact(text: str) -> str:
    """The text without the secrets of the URLs in it."""
    if "://" not in text:
        return text
    return _HIDDEN_QUERY.sub(r"\1***", _USERINFO.sub("://***@", text))


class Described:
    """Records the arguments of its construction."""

    _given: tuple[tuple[Any, ...], dict[str, Any]]
    configured: Any = None
    """What a configuration said of this object, references and all; `None` if none did."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._given = (args, kwargs)
        return self

    def clone(self) -> Self:
        """Another instance, made with the same arguments."""
        args, kwargs = self._given
        made = type(self)(*args, **kwargs)
        made.configured = self.configured
        return made

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name, as given; those left to their defaults are not in it.

        What the signature takes as `*names` stands under that name, as a tuple.
        """
        args, kwargs = self._given
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        found = dict(bound.arguments)
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                found.update(found.pop(name, {}))
        return found

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}={redacted_repr(name, value)}" for name, value in self.arguments.items()
        )
        return f"{type(self).__name__}({given})"
