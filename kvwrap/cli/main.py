"""The command line: `kvwrap`, or `python -m kvwrap`.

`kvwrap COMMAND STORE …`, where STORE is a URL, or a TOML file that `kvwrap.from_config` reads, with
`#name` if it has several stacks. Each command is a function in a module of its own or of its
family, which is imported when the command is used.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any, Final, get_origin

from kvwrap.cli.codes import BROKEN_PIPE, DEFECT, DONE, INTERRUPTED, REFUSED, UNAVAILABLE
from kvwrap.cli.output import complain, is_terminal, write_text
from kvwrap.core.optional import need
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError, KvwrapError, StoreUnavailable

PROGRAM: Final = "kvwrap"

COMMANDS: Final = {
    "get": "entries:get",
    "put": "entries:put",
    "delete": "entries:delete",
    "ttl": "entries:ttl",
    "expire": "entries:expire",
    "increment": "entries:increment",
    "keys": "listing:keys",
    "collections": "listing:collections",
    "count": "listing:count",
    "watch": "watch:watch",
    "export": "transfer:export",
    "import": "transfer:import_",
    "copy": "copy:copy",
    "migrate": "migrate:migrate",
    "rewrite": "rewrite:rewrite",
    "inspect": "rewrite:inspect",
    "train-dictionary": "train:train_dictionary",
    "keygen": "keygen:keygen",
    "explain": "explain:explain",
    "check": "check:check",
    "bench": "bench:bench",
    "top": "top:top",
    "completion": "completion:completion",
}
"""The commands, each with its module in `kvwrap.cli` and its function there."""

_HELP = {"--help", "-h"}
_VERSION = {"--version", "-V"}
_MEANT = {"help": "--help", "version": "--version", "list": "keys", "ls": "keys", "set": "put"}
"""What is meant by words that may be taken for commands, and are not alike."""

_UNWRAPPED = 1000
_READ_OR_WRITE_DASH = {"put", "export", "import"}
_RESUMABLE = {"export", "import", "copy", "migrate", "rewrite", "inspect"}


def create_app() -> Any:
    """Return the application of cyclopts, with all commands.

    Raises:
        ConfigurationError: cyclopts is not installed.
    """
    cyclopts = need("cyclopts", extra="cli", wanted_by="the command line")
    app = cyclopts.App(
        name=PROGRAM,
        help="Look at, change, move and check the entries of key-value stores.",
        help_epilogue="kvwrap COMMAND --help describes the arguments of a command.",
        version=partial(version, PROGRAM),
        help_format="plaintext",
        help_formatter="default" if is_terminal(sys.stdout) else "plain",
        default_parameter=cyclopts.Parameter(negative=(), show_default=_shown_default),
        suppress_keyboard_interrupt=False,
    )
    for order, (name, place) in enumerate(COMMANDS.items()):
        app.command(f"kvwrap.cli.{place}", name=name, sort_key=order)
    return app


def _shown_default(value: object) -> object:
    """Return a default for the help; that a flag is off, or an option left out, needs no words."""
    return value or None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code, of `kvwrap.cli.codes`.

    Args:
        arguments: The arguments after the program's name; those of the process if `None`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return _run(words)
    except StoreUnavailable as error:
        complain(error)
        return UNAVAILABLE
    except KvwrapError as error:
        complain(error)
        return REFUSED
    except KeyboardInterrupt:
        hint = (
            "; run the same command again to continue"
            if words[:1] and words[0] in _RESUMABLE
            else ""
        )
        complain(f"interrupted{hint}")
        return INTERRUPTED
    except BrokenPipeError:
        # What reads the output wants no more. The interpreter would complain when it flushes it.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        complain(f"a file or standard output cannot be used ({error.strerror})")
        return REFUSED
    except Exception:
        # Printed here, since the interpreter would show the secrets of URLs in messages.
        complain(f"an unexpected error, which is a defect\n{traceback.format_exc().rstrip()}")
        return DEFECT


def _run(words: list[str]) -> int:
    if sys.stdout is None:
        raise ConfigurationError("standard output must be open; it is closed: try > /dev/null")
    if words and words[0] in _VERSION:
        write_text(f"{version(PROGRAM)}\n")
        return DONE
    app = create_app()
    if words and words[0] not in {*COMMANDS, *_HELP, *_VERSION}:
        kind = "option" if words[0].startswith("-") else "command"
        known = ("--help", "--version") if kind == "option" else COMMANDS
        meant = _MEANT.get(words[0])
        hint = f"did you mean {meant!r}?" if meant else suggest(words[0], known)
        raise ConfigurationError(f"unknown {kind}, {words[0]!r}: {hint}")
    if not words or words[0] in _HELP:
        for name in COMMANDS:
            _ = app[name]  # imported, so that its summary is shown
    elif words[0] in COMMANDS and not _HELP.isdisjoint(words):
        _shape_help(app[words[0]], words[0])
    exceptions = need("cyclopts.exceptions", extra="cli", wanted_by="the command line")
    try:
        code = app(
            _without_dash(words),
            console=_console(words),
            print_error=False,
            exit_on_error=False,
            result_action="return_value",
        )
    except exceptions.CycloptsError as error:
        command = words[0] if words[0] in COMMANDS else "COMMAND"
        complain(f"{_message_of(error, exceptions, app)} ({PROGRAM} {command} --help)")
        return REFUSED
    return code if isinstance(code, int) else 0


def _shape_help(command: Any, name: str) -> None:
    """Name all arguments in the usage of a command, and let paragraphs be broken where they end.

    Args:
        command: The command's application of cyclopts, which names no argument that may be left
            out, and breaks lines where the docstring does.
        name: The command's name.
    """
    usage = [PROGRAM, name, "[OPTIONS]"]
    for argument in command.assemble_argument_collection():
        if not argument.name.startswith("-"):
            many = "..." if get_origin(argument.hint) in (tuple, list) else ""
            usage.append(argument.name if argument.required else f"[{argument.name}{many}]")
    command.usage = f"Usage: {' '.join(usage)}"
    paragraphs = inspect.cleandoc(command.help).split("\n\n")
    command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    command.help_epilogue = ""


def _console(words: list[str]) -> Any:
    """Return what help is printed to, or None for the default.

    What a program reads has an argument on each line, so that it can be searched.
    """
    if is_terminal(sys.stdout) or (words and _HELP.isdisjoint(words)):
        return None
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            """Let `main` end as it does after other output, and not with rich's exit code."""
            raise BrokenPipeError

    return Piped(width=_UNWRAPPED)


def _without_dash(words: list[str]) -> list[str]:
    """Leave out a lone `-`, which cyclopts takes for an option, where it is the default anyway."""
    if words[:1] and words[0] in _READ_OR_WRITE_DASH:
        end = words.index("--") if "--" in words else len(words)
        return [word for word in words[:end] if word != "-"] + words[end:]
    return words


def _message_of(error: Any, exceptions: Any, app: Any) -> str:
    """Return the message of a mistake in the arguments, without the words that may be values."""
    if isinstance(error, exceptions.UnusedCliTokensError):
        command = app[error.command_chain[0]] if error.command_chain else app
        names = [each.name for each in command.assemble_argument_collection()]
        taken = " ".join(name for name in names if not name.startswith("-"))
        chosen = [name for name in ("--prefix", "--collection") if name in names]
        hint = f"; {' and '.join(chosen)} choose among the entries" if "--prefix" in names else ""
        return f"unexpected argument: the command takes {taken or 'none'} only{hint}"
    if isinstance(error, exceptions.UnknownOptionError):
        option = (error.token.keyword or error.token.value).partition("=")[0]
        names = [name for each in error.argument_collection for name in each.names]
        options = [name for name in names if name.startswith("--")]
        hint = "" if option.startswith("--") else "; after --, such a word is no option"
        return f"unknown option, {option!r}: {suggest(option, options)}{hint}"
    return str(error)


def _show_warning(message: Warning | str, *place: object, **options: object) -> None:
    """Print a warning as the other messages, without the line of code that `place` names."""
    complain(f"warning: {message}")
