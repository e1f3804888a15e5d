"""Names in front of a colon, for backends whose keys are one string."""

from __future__ import annotations


def escaped(name: str) -> str:
    """The name without a colon in it, so that the first colon behind it ends it."""
    return name.replace("%", "%25").replace(":", "%3A")


def unescaped(name: str) -> str:
    """The name that `escaped` was given."""
    return name.replace("%3A", ":").replace("%25", "%")
