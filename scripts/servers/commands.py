"""Commands of the ways of installing, and their failures."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_TIMEOUT = 3600
"""Seconds that one command may take: a build on a busy machine."""


class SetupError(Exception):
    """A command or a way of installing a server failed. The message says what to do about it."""


def run(
    *command: str | Path, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command. Returns its output; raises `SetupError` with its last lines if it failed."""
    words = [str(word) for word in command]
    try:
        result = subprocess.run(
            words,
            cwd=folder,
            env={
                **os.environ,
                "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C",
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{words[0]}: {error}") from error
    if result.returncode:
        last_lines = (result.stderr or result.stdout).strip().splitlines()[-3:]
        raise SetupError(f"{' '.join(words[:3])}: {' / '.join(last_lines)}")
    return result.stdout


def require(tool: str, advice: str) -> str:
    """Find a tool on the PATH. Raises `SetupError` with the advice if it is missing."""
    path = shutil.which(tool)
    if path is None:
        raise SetupError(f"{tool} is missing: {advice}")
    return path
