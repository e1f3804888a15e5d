"""A collection and a key as one text, for objects whose keys are flat."""

from __future__ import annotations

from kvwrap.core.primitives import Collection
from kvwrap.errors import ConfigurationError
from kvwrap.stores.shared.escaping import escape, unescape


def format_name(collection: Collection, key: str) -> str:
    """Return the name of a key in the object: the key itself in the default collection."""
    if collection is None:
        return f"@:{key}" if key.startswith("@") else key
    return f"@{escape(collection)}:{key}"


def check_default_collection(name: str | None, *, raw: bool) -> None:
    """Raise `ConfigurationError` for a default collection with a name over values of others."""
    if raw and name is not None:
        raise ConfigurationError(
            "`default_collection` must be left out with raw=True: values of other programs are in "
            f"the collection without a name; got {name!r}"
        )


def parse_name(name: object) -> tuple[Collection, str] | None:
    """Return the arguments that `format_name` has this result for, or None if there are none."""
    if not isinstance(name, str) or not name or not _is_text(name):
        return None
    if not name.startswith("@"):
        return None, name
    escaped, colon, key = name[1:].partition(":")
    collection = unescape(escaped) or None
    if colon and key and format_name(collection, key) == name:
        return collection, key
    return None


def _is_text(name: str) -> bool:
    """Return True if the name is valid Unicode, as keys are: `os.listdir` makes others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
