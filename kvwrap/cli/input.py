"""Input of commands: values, lines, and answers to questions.

It is read in threads: Ctrl-C could not end a command whose event loop waits for standard input.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kvwrap.cli.output import echo, is_terminal
from kvwrap.core.threads import run_in_thread
from kvwrap.errors import ConfigurationError


@contextmanager
def open_input(file: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input for `-`, for a thread to read.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        opened = _open(file)
    except OSError as error:
        raise ConfigurationError(f"{file!r} cannot be read ({error.strerror})") from error
    try:
        yield opened
    except asyncio.CancelledError:
        # Not closed: the thread may still wait for it, and a close would wait for the thread.
        raise
    except BaseException:
        opened.close()
        raise
    opened.close()


def _open(file: str) -> BinaryIO:
    if file != "-":
        return Path(file).open("rb")
    if sys.stdin is None:
        raise ConfigurationError("standard input must be open; it is closed")
    # Not that of `sys`: the interpreter would wait for it if a thread reads it at the end.
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb")


async def read_input() -> bytes:
    """Return all of standard input."""
    return await _read(lambda opened: opened.read())


async def confirm(question: str, *, yes: bool) -> bool:
    """Ask before something is destroyed. Returns True if the user agrees.

    Args:
        question: The question, which is answered with yes or no.
        yes: True if it was answered already, by `--yes`.

    Raises:
        ConfigurationError: Nobody can be asked.
    """
    if yes:
        return True
    if not is_terminal(sys.stdin):
        raise ConfigurationError(
            f"this command asks first ({question}), and standard input is not a terminal: "
            "pass --yes to agree"
        )
    echo(f"{question} [y/N] ", file=sys.stderr, end="")
    answer = await _read(lambda opened: opened.readline())
    agreed = answer.strip().lower() in (b"y", b"yes")
    if not agreed:
        echo("nothing was changed", file=sys.stderr)
    return agreed


async def _read(read: Callable[[BinaryIO], bytes]) -> bytes:
    with open_input("-") as opened:
        return await run_in_thread(read, opened)
