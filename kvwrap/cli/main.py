"""The command line: `kvwrap`, or `python -m kvwrap`.

    kvwrap keygen                print a new key, in the form of Keyring.from_env and from_file
    kvwrap inspect store.toml    report which keys and dictionaries the entries still need
    kvwrap rewrite store.toml    rewrite every entry in the form in which the stack writes now

The file describes the stack and its backend, as `kvwrap.from_config` reads it.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from kvwrap.cli import keygen, rewrite
from kvwrap.cli.output import echo
from kvwrap.core.validation import suggest
from kvwrap.errors import KvwrapError

REFUSED = 2
"""Exit code of a command that could not finish. argparse uses it for wrong arguments."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code.

    Args:
        arguments: The arguments after the program's name; those of the process if `None`.
    """
    parser = argparse.ArgumentParser(
        prog="kvwrap",
        description="Create encryption keys, and rewrite the entries of a store.",
        epilog="`kvwrap COMMAND --help` describes the arguments of a command.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (keygen, rewrite):
        module.add_commands(commands)
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        echo("kvwrap: a command is required\n", file=sys.stderr)
        parser.print_help(sys.stderr)
        return REFUSED
    command = words[0]
    if not command.startswith("-") and command not in commands.choices:
        parser.error(f"unknown command, {command!r}: {suggest(command, commands.choices)}")
    options = parser.parse_args(words)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code: int = options.run(options)
    except KvwrapError as error:
        echo(f"kvwrap: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        echo("\nkvwrap: interrupted; run the same command again to resume", file=sys.stderr)
        return REFUSED
    return code


def _show_warning(message: Warning | str, *place: object, **options: object) -> None:
    """Print a warning as the other messages, without the line of code that `place` names."""
    echo(f"kvwrap: warning: {message}", file=sys.stderr)
