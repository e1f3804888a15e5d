"""Output of commands on the terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from kvwrap.core.text import printable


def echo(
    text: object = "", *, file: TextIO | None = None, start: str = "", end: str = "\n"
) -> None:
    """Print a text, with the characters escaped that would steer the terminal.

    So are those that the terminal's encoding does not have. Every command prints with this.

    Args:
        text: The text.
        file: Where to; standard output if `None`.
        start: What to print before, unchanged: "\\r" to replace the line.
        end: What to print after, unchanged.
    """
    stream = sys.stdout if file is None else file
    encoding = stream.encoding or "utf-8"
    shown = printable(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    print(start, shown, sep="", end=end, file=stream, flush=True)
