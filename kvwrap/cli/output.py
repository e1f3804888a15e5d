"""Output of commands on the terminal."""

from __future__ import annotations

import sys
from typing import TextIO

from kvwrap.core.text import printable


def echo(text: object = "", *, file: TextIO | None = None, end: str = "\n") -> None:
    """Print a text, with the characters escaped that would steer the terminal.

    So are those that the terminal's encoding does not have. Every command prints with this.
    """
    stream = sys.stdout if file is None else file
    encoding = stream.encoding or "utf-8"
    shown = printable(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    print(shown, end=end, file=stream, flush=True)
