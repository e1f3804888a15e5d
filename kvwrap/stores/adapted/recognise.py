"""Which adapter an object has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvwrap.core.validation import checked_name
from kvwrap.errors import ConfigurationError
from kvwrap.stores.adapted.adapter import Adapter, class_names
from kvwrap.stores.adapted.forms import BY_NAME
from kvwrap.stores.adapted.get_and_set import GetAndSetAdapter, has_get_and_set
from kvwrap.stores.adapted.libraries import LIBRARIES
from kvwrap.stores.adapted.mappings import MappingAdapter, is_mapping


def adapter_for(
    obj: Any,
    namespace: Sequence[str] | None = None,
    form: str | None = None,
    *,
    raw: bool = False,
) -> Adapter | None:
    """Return the adapter of an object, or None if its kind is not known.

    Args:
        obj: The object.
        namespace: Where the names are in it.
        form: Name of the form of entries, for an object with `get` and `set`.
        raw: True if values of other programs are entries.

    Raises:
        ConfigurationError: The object is of another version of a known library, or an argument
            is not one for it.
    """
    if isinstance(obj, type):
        return None
    place = None
    if namespace is not None:
        if isinstance(namespace, str) or not namespace:
            raise ConfigurationError(
                f"`namespace` must be a tuple of names such as ('kvwrap',); got {namespace!r}"
            )
        place = tuple(checked_name(each, "namespace") for each in namespace)
    found = class_names(obj)
    kinds: list[type[Adapter]] = [each for each in LIBRARIES if set(each.classes) & set(found)]
    if not kinds and is_mapping(obj):
        kinds = [MappingAdapter]
    if not kinds and has_get_and_set(obj):
        kinds = [GetAndSetAdapter]
    if not kinds:
        return None
    adapter = kinds[0](obj, place)
    if form is not None:
        if kinds[0] is not GetAndSetAdapter:
            raise ConfigurationError(
                f"`form` must be left out for a {adapter.kind}, whose form is known"
            )
        if form not in BY_NAME:
            raise ConfigurationError(
                f"`form` must be one of {', '.join(map(repr, BY_NAME))}; got {form!r}"
            )
        adapter.form = BY_NAME[form]
    if raw:
        adapter.use_raw()
    return adapter
