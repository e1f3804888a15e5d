"""Output of commands: text, JSON, tables and bytes."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, TextIO

import msgspec

from kvwrap.core.described import redact
from kvwrap.core.text import printable
from kvwrap.errors import ConfigurationError, InvalidValue


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
    encoding = _encoding_of(stream)
    shown = printable(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    print(start, shown, sep="", end=end, file=stream, flush=True)


def tell(text: object, *, file: TextIO | None = None) -> None:
    """Print a text for people. On a terminal, lines that are too long end between words."""
    stream, shown = sys.stdout if file is None else file, str(text)
    if is_terminal(stream):
        width = shutil.get_terminal_size().columns
        shown = "\n".join(_folded(printable(line), width) for line in shown.split("\n"))
    echo(shown, file=file)


_START = re.compile("[ │├└─·!]*")
_CONTINUED = str.maketrans("├└─·!", "│    ")


def _folded(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    match = _START.match(line)  # of a tree, or of a list
    assert match is not None
    indent = match[0].translate(_CONTINUED)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def complain(text: object) -> None:
    """Print a message on stderr, if it is open, without the secrets of the URLs in it."""
    if sys.stderr is None:
        return
    tell(f"kvwrap: {redact(str(text))}", file=sys.stderr)


def echo_json(value: Any, *, pretty: bool = False, file: TextIO | None = None) -> None:
    """Print a value as JSON, on one line unless it is to be pretty.

    Dates and the like become text, and bytes base64.

    Raises:
        InvalidValue: JSON cannot show the value.
    """
    try:
        plain = msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise InvalidValue(
            f"JSON cannot show a value of type {type(value).__name__}: it was written by Python's "
            "pickle, and only Python can use it"
        ) from None
    is_ascii = not _encoding_of(file or sys.stdout).lower().startswith("utf")
    text = json.dumps(plain, ensure_ascii=is_ascii, indent=2 if pretty else None)
    echo(_UNPRINTABLE.sub(_escaped, text), file=file)


_UNPRINTABLE = re.compile(r"[^\x20-\x7e\n]")


def _escaped(char: re.Match[str]) -> str:
    """Escape a character as JSON does, if a terminal would not simply show it."""
    return char[0] if char[0].isprintable() else json.dumps(char[0])[1:-1]


def shown_name(name: str | None) -> str:
    """Return a key or collection for a list of names: quoted where it could not be told apart."""
    if name is None:
        return "(default)"
    is_plain = name.isprintable() and name == name.strip() and name[0] not in "('\""
    return name if is_plain else repr(name)


def is_terminal(stream: TextIO | None) -> bool:
    """Return True if a person reads, or writes, the stream; it is None if it was closed."""
    return stream is not None and stream.isatty()


def echo_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on a terminal, and lines with tabs between the cells elsewhere.

    The first of these lines has the names of the columns, and numbers have no commas there.

    Columns whose name begins with `#` have numbers, without the `#`.
    """
    if not is_terminal(sys.stdout):
        write_text("\t".join(column.removeprefix("#") for column in columns) + "\n")
        for row in rows:
            write_text("\t".join(_cell(cell, plain=True) for cell in row) + "\n")
        return
    # Imported late: most commands print no table.
    from rich.console import Console

    Console(file=sys.stdout).print(rich_table(columns, rows))


def rich_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    one_line: bool = False,
    caption: str = "",
) -> Any:
    """Return a table for rich, as `echo_table` prints it on a terminal, under an empty line.

    Args:
        columns: As for `echo_table`.
        rows: The rows.
        one_line: True if each row takes one line, and what does not fit is cut off.
        caption: What to say in a line below.
    """
    from rich.box import SIMPLE_HEAD
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    if caption:
        table.caption, table.caption_justify = Text(caption), "left"
    for column in columns:
        table.add_column(
            column.removeprefix("#"),
            justify="right" if column.startswith("#") else "left",
            overflow="ellipsis" if one_line else "fold",
            no_wrap=one_line and column.startswith("#"),  # names are cut off first
        )
    for row in rows:
        table.add_row(*[Text(_cell(cell), no_wrap=one_line) for cell in row])
    return Padding(table, (1, 0, 0, 0))


def _cell(value: object, *, plain: bool = False) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if plain else f"{value:,.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if plain else f"{value:,}"
    return printable("" if value is None else str(value)).replace("\n", " ")


def _encoding_of(stream: TextIO) -> str:
    return stream.encoding or "utf-8"


def standard_output() -> BinaryIO:
    """Return standard output for lines of JSON; on a terminal, these are shown as `echo` does."""
    return _Shown() if is_terminal(sys.stdout) else sys.stdout.buffer


class _Shown(io.BytesIO):
    """Shows the JSON that is written to it on the terminal."""

    def write(self, data: Any, /) -> int:
        text = bytes(data).decode()
        echo(_UNPRINTABLE.sub(_escaped, text), end="")
        return len(data)


def write_text(text: str) -> None:
    """Write a program's own text to standard output as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output as they are, as a program that reads them wants.

    Raises:
        ConfigurationError: Standard output is a terminal, which such bytes would steer.
    """
    if is_terminal(sys.stdout):
        raise ConfigurationError(
            "bytes are not shown on a terminal: send them to a file or a program, with > or |"
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
