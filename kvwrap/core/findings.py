"""Findings: mistakes in a stack that are known before it runs, and how they are reported."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

import msgspec

from kvwrap.errors import StackWarning

_PACKAGE = __name__.partition(".")[0]


class Finding(msgspec.Struct, frozen=True):
    """One mistake in a stack.

    Attributes:
        code: A short name in kebab case, used to silence the finding.
        message: What is wrong.
        hint: What to write instead.
        fatal: True if the stack cannot work at all, and is refused.
    """

    code: str
    message: str
    hint: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.hint}"


def warn(finding: Finding) -> None:
    """Issue a `StackWarning` that points at the line that called kvwrap."""
    warnings.warn(str(finding), StackWarning, stacklevel=1 + _frames_of_kvwrap())


def _frames_of_kvwrap() -> int:
    """Return the number of frames, from the caller's outward, that run code of this package."""
    # Python 3.12 has `skip_file_prefixes` for this purpose.
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == _PACKAGE:
        frame = frame.f_back
        count += 1
    return count
