"""Paths of files and folders that cannot be there, and the ones that were probably meant."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from kvwrap.core.missing import NotThereYet, is_missing
from kvwrap.errors import ConfigurationError


def check_exists(what: str, path: str, scheme: str, *, store: str) -> None:
    """Check that a file or folder is there, for a store that may not create it.

    Args:
        what: What the store keeps there, such as "the SQLite file".
        path: The path, absolute.
        scheme: The scheme of the store's URLs.
        store: Name of the store, for the error.

    Raises:
        NotThereYet: It is not there, and its folder is one in which this process may create it.
        ConfigurationError: It is not there, nor could it be.
    """
    place = Path(path)
    try:
        if place.exists():
            return
        beside = [each.name for each in place.parent.iterdir() if each.suffix == place.suffix]
    except OSError:  # of a folder that is missing, or cannot be looked at
        beside = []
    near = difflib.get_close_matches(place.name, beside, n=1)
    hint = f". Did you mean {str(place.with_name(near[0]))!r}?" if near else ""
    may_come = os.access(place.parent, os.W_OK | os.X_OK) and place.parent.is_dir()
    raise (NotThereYet if may_come else ConfigurationError)(
        is_missing(f"{what} {path!r}", check="path", hint=hint or suggest_path(path, scheme)),
        store=store,
    )


def missing_parent(what: str, path: str, scheme: str) -> str | None:
    """Return the error message for a path whose parent folder is missing; None if it exists.

    Args:
        what: What the store keeps there, such as "the SQLite file".
        path: The path, absolute.
        scheme: The scheme of the store's URLs.
    """
    parent = Path(path).parent
    try:
        if parent.is_dir():
            return None
    except OSError:  # it cannot be looked at, and may exist
        return None
    return (
        f"{what} {path!r} must be in an existing folder; there is no folder {str(parent)!r}: "
        f"create it, or give the store another path{suggest_path(path, scheme)}"
    )


def suggest_path(path: str, scheme: str) -> str:
    """Return a hint if a relative path was taken for an absolute one, or the other way round.

    It is empty if the path exists, and unless the other one is in an existing folder.

    Args:
        path: The path that was understood, absolute.
        scheme: The scheme of the store's URLs.
    """
    given = Path(path)
    try:
        here = Path.cwd()
        if given.is_relative_to(here):
            other = Path("/", given.relative_to(here))
        else:
            other = Path(here, given.relative_to(given.anchor))
        if given.exists() or other.parent == Path("/") or not other.parent.is_dir():
            return ""
    except OSError:  # of a folder that cannot be looked at
        return ""
    if scheme == "sqlite":
        slashes = "sqlite:///a is a relative path, and sqlite:////a an absolute one"
    else:
        slashes = f"{scheme}:///a is an absolute path, and relative ones are for code"
    return f". Did you mean {str(other)!r}? In a URL, {slashes}"
