"""Find the programs of servers: in the cache of built ones, on the PATH, or unpacked."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from kvwrap.errors import ConfigurationError

UNPACKED = Path(sys.prefix) / "servers"
"""Folder into which `scripts/servers` unpacks packages that it may not install."""


class MissingServerError(ConfigurationError):
    """The program of a server is not installed."""


def server_cache() -> Path:
    """Return the folder of the servers that `scripts/servers` built, for all checkouts.

    A server is in `NAME/VERSION/bin/PROGRAM` within it.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification of XDG_CACHE_HOME ignores relative paths.
    return (home if home.is_absolute() else Path.home() / ".cache") / "kvwrap" / "servers"


def find_server(name: str) -> Path | None:
    """Find the program of a server. Returns None if it is not installed.

    A server in the cache goes before those on the PATH, since it has the version that the tests
    were written for; of several versions, the newest one is taken. Folders that distributions
    leave out of the PATH are searched too, and those of unpacked packages.
    """
    path = shutil.which(name, path=os.pathsep.join(map(str, _folders())))
    return None if path is None else Path(path)


def require_server(name: str) -> Path:
    """Find the program of a server. Raises `MissingServerError` if it is not installed."""
    path = find_server(name)
    if path is None:
        raise MissingServerError(
            f"{name} must be installed, but it is neither on the PATH nor in {server_cache()}; "
            "run `make servers` to install it"
        )
    return path


def _folders() -> Iterator[Path]:
    yield from _newest_first(server_cache().glob("*/*/bin"))
    yield from map(Path, os.get_exec_path())
    yield UNPACKED / "usr" / "bin"
    for root in (Path("/"), UNPACKED):
        yield root / "usr" / "sbin"
        yield from _newest_first(root.glob("usr/lib/postgresql/*/bin"))


def _newest_first(folders: Iterator[Path]) -> list[Path]:
    """Sort folders of programs by the version in the name of the folder around each."""
    return sorted(folders, key=lambda folder: version_of(folder.parent.name), reverse=True)


def version_of(text: str) -> tuple[int, ...]:
    """Return the first version in a text as numbers, such as (2, 15) for "v2.15". Empty if none."""
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def environment_of(program: Path) -> Mapping[str, str]:
    """Return the environment variables to start a program with.

    For an unpacked program they include the path of its libraries.
    """
    if not program.is_relative_to(UNPACKED):
        return os.environ
    libraries = {str(library.parent) for library in UNPACKED.glob("**/lib*.so*")}
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries))}
