"""Find the programs of servers: on the PATH, or unpacked into the virtual environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

UNPACKED = Path(sys.prefix) / "servers"
"""Folder into which `scripts/servers.py` unpacks servers that it may not install."""


def find_server(name: str) -> Path | None:
    """Find the program of a server, on the PATH or unpacked. Returns None if there is neither."""
    path = shutil.which(name) or shutil.which(name, path=str(UNPACKED / "usr" / "bin"))
    return None if path is None else Path(path)


def environment_of(program: Path) -> Mapping[str, str]:
    """Return the environment variables to start a program with.

    For an unpacked program they include the path of its libraries.
    """
    if not program.is_relative_to(UNPACKED):
        return os.environ
    libraries = {str(library.parent) for library in UNPACKED.glob("**/lib*.so*")}
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries))}
