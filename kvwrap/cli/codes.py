"""The exit codes of commands."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
"""The command did what it should."""

NO: Final = 1
"""Nothing is under the key or in the collection, some entries failed, or something is to mend."""

REFUSED: Final = 2
"""The arguments or the configuration are wrong, or the store refused; stderr says why."""

UNAVAILABLE: Final = 3
"""A backend is unavailable: the same command may succeed later."""

DEFECT: Final = 70
"""An unexpected error, which is a defect of kvwrap, a driver, or code that a file names."""

INTERRUPTED: Final = 130
"""Ctrl-C ended the command."""

BROKEN_PIPE: Final = 141
"""What reads the output has ended."""
