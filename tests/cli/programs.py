"""Commands as programs of their own, for what a shell does to them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

# A shell starts jobs in the background with SIGINT ignored, which programs inherit: then Ctrl-C
# would do nothing in the tests of `make test &`.
_CODE = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kvwrap.cli.main import main
sys.exit(main())
"""


class Ended(NamedTuple):
    """How a program ended, and what it printed."""

    code: int
    out: str
    err: str


def program(*words: str) -> list[str]:
    """Return the arguments of a process that runs a command."""
    return [sys.executable, "-c", _CODE, *words]


def interrupt(*words: str, when: Callable[[], bool], stdin: IO[bytes] | int | None = None) -> Ended:
    """Run a command, and press Ctrl-C as soon as `when` holds."""
    with subprocess.Popen(
        program(*words),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not when():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    return Ended(process.returncode, out, err)


def has_begun(state: Path) -> bool:
    """Return True if a state tells that a batch is done."""
    return state.exists() and json.loads(state.read_text())["after"] is not None
