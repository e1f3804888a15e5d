"""Objects that remember with which arguments they were made.

A layer's description is its class and arguments: `over` makes a fresh instance of
them for every store, so no two stores ever share a layer's state; `repr`, equality
and `to_config` come from the same record.
"""

from __future__ import annotations

import inspect
from typing import Any, Self


class Described:
    """Records the arguments of its construction."""

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._given = (args, kwargs)
        return self

    def anew(self) -> Self:
        """Another instance, made with the same arguments."""
        args, kwargs = self._given
        return type(self)(*args, **kwargs)

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
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{type(self).__name__}({given})"
