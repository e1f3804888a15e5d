"""The files and sockets that this process has open, on Linux."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

DESCRIPTORS: Final = Path("/proc/self/fd")


def opened_files() -> set[tuple[str, str]]:
    """Return number and name of each, nothing where there is no /proc."""
    files = set()
    for descriptor in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        with contextlib.suppress(OSError):  # closed since, as that of the folder itself
            files.add((descriptor.name, str(descriptor.readlink())))
    return {(number, name) for number, name in files if not name.endswith("/fd")}
