"""The command line: `kvwrap`, or `python -m kvwrap`.

    kvwrap keygen                     print a new key, in the form of Keyring.from_env and from_file
    kvwrap inspect store.toml         report which keys and dictionaries the entries still need
    kvwrap rewrite store.toml         bring every entry into the form in which the stack writes now

The file describes the stack and its backend, as `kvwrap.from_config` reads it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kvwrap.cli import keygen, rewrite
from kvwrap.errors import KvwrapError

REFUSED = 2
"""Exit code when a command could not run to its end; argparse uses it for wrong arguments."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="kvwrap", description="Keys, and stores under keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (keygen, rewrite):
        module.add_commands(commands)
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except KvwrapError as error:
        print(f"kvwrap: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("\nkvwrap: interrupted; run it again to resume", file=sys.stderr)
        return REFUSED
    return code
