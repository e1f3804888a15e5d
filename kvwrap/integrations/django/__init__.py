"""kvwrap within Django: a store on the databases of its ORM, and a cache over any stack.

Add `"kvwrap.integrations.django"` to `INSTALLED_APPS`, and create the table with
`manage.py migrate`. The extra `django` installs Django.

A stack may go over the store, and `kvwrap.sync` makes it blocking, for views and commands:
what it does with the database happens on the caller's thread and connection.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kvwrap.core.optional import need

if TYPE_CHECKING:
    from kvwrap.integrations.django.store import DjangoStore

need("django", extra="django", wanted_by="kvwrap.integrations.django")

__all__ = ["DjangoStore"]

_PLACES = {"DjangoStore": "store"}


def __getattr__(name: str) -> Any:
    # Late, since Django imports this package before its applications are ready.
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
