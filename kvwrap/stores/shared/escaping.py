"""Names in front of a colon, for backends whose keys are one string."""

from __future__ import annotations


def escape(name: str) -> str:
    """Escape the colons in a name, so that the first colon after the name ends it."""
    return name.replace("%", "%25").replace(":", "%3A")


def unescape(name: str) -> str:
    """Return the name that `escape` was called with."""
    return name.replace("%3A", ":").replace("%25", "%")
