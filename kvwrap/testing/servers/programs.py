"""The programs of servers: on the PATH, or unpacked into the virtual environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

UNPACKED = Path(sys.prefix) / "servers"
"""Where `scripts/servers.py` unpacks servers that it may not install."""


def find_server(name: str) -> Path | None:
    """The program of a server: one on the PATH, else an unpacked one, else `None`."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED / "usr" / "bin"))
    return None if found is None else Path(found)


def environment_of(program: Path) -> Mapping[str, str]:
    """The environment to start a program with: an unpacked one finds its libraries there."""
    if not program.is_relative_to(UNPACKED):
        return os.environ
    libraries = {str(found.parent) for found in UNPACKED.glob("**/lib*.so*")}
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries))}
