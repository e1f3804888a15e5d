"""Names in front of a colon, for backends whose keys are one string."""

from __future__ import annotations

from kvwrap.core.primitives import Collection


def escape(name: str) -> str:
    """Escape the colons in a name, so that the first colon after the name ends it."""
    return name.replace("%", "%25").replace(":", "%3A")


def unescape(name: str) -> str:
    """Return the name that `escape` was called with."""
    return name.replace("%3A", ":").replace("%25", "%")


class KeyNames:
    """Names of keys as `namespace:collection:key`.

    `%` and `:` in the first two are escaped, so that neither two collections nor two namespaces
    share a key, and a name can be parsed.

    Attributes:
        root: What every name begins with.
    """

    def __init__(self, namespace: str) -> None:
        self.root = escape(namespace) + ":"

    def prefix(self, collection: Collection) -> str:
        """Return the prefix that the names of a collection have."""
        return f"{self.root}{'' if collection is None else escape(collection)}:"

    @staticmethod
    def collection_of(name: str) -> Collection:
        """Return the collection of a name, which is given without `root`."""
        return unescape(name.partition(":")[0]) or None
