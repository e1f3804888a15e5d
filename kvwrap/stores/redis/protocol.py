"""The protocol of Redis (RESP2): commands as bytes, and answers from a stream.

The driver's parser in Python awaits twice for every value of an answer. An answer of a hundred
values takes it longer than everything else that a batch needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

_CHUNK: Final = 65536
_NEWLINE: Final = b"\r\n"
_ARRAY, _BULK, _INTEGER, _STATUS, _ERROR = b"*$:+-"
_NUMBERED: Final = frozenset((_ARRAY, _BULK, _INTEGER))


def pack(commands: Sequence[Sequence[Any]]) -> list[bytes]:
    """Return commands as bytes. The words of a command's name are separated by spaces."""
    parts = []
    for name, *arguments in commands:
        words = name.encode().split()
        parts.append(b"*%d\r\n" % (len(words) + len(arguments)))
        for argument in (*words, *arguments):
            data = argument if type(argument) is bytes else str(argument).encode()
            parts += (b"$%d\r\n" % len(data), data, _NEWLINE)
    return parts


async def read_answers(
    stream: asyncio.StreamReader,
    count: int,
    answers: list[Any],
    *,
    error_of: Callable[[str], Exception],
    broken: type[Exception],
) -> None:
    """Read the answers to `count` commands.

    Args:
        stream: What the server sends, and nothing beyond these answers.
        count: Number of answers.
        answers: The list to add them to. If this raises, those are in it that came before.
        error_of: Makes the error for the text of an error of Redis, which is added in place of
            the answer, or raised if it is of the class `broken`.
        broken: Class of the error to raise if the stream ends, or is not in the protocol.
    """
    data, at = b"", 0
    values, left = answers, count
    outer: list[tuple[list[Any], int]] = []  # the arrays around `values`
    try:
        while left or outer:
            if not left:
                values, left = outer.pop()
                continue
            end = data.find(_NEWLINE, at)
            if end < 0:
                data, at = await _extended(stream, data[at:], 1, broken), 0
                continue
            kind, number = data[at], 0
            if kind in _NUMBERED:
                number = _number(data[at + 1 : end], broken)
            if kind == _BULK and number >= 0:
                stop = end + 2 + number
                if len(data) < stop + 2:
                    missing = stop + 2 - len(data)
                    data, at = await _extended(stream, data[at:], missing, broken), 0
                    continue
                values.append(data[end + 2 : stop])
                end = stop
            elif kind == _ARRAY and number >= 0:
                array: list[Any] = []
                values.append(array)
                outer.append((values, left - 1))
                values, left, at = array, number, end + 2
                continue
            elif kind == _INTEGER:
                values.append(number)
            elif kind == _STATUS:
                values.append(data[at + 1 : end])
            elif kind == _ERROR:
                error = error_of(data[at + 1 : end].decode(errors="replace"))
                values.append(_unless(broken, error))
            else:
                _check_empty(kind, broken)
                values.append(None)
            left -= 1
            at = end + 2
    except BaseException:
        if outer:
            answers.pop()  # not all of it came
        raise
    if at != len(data):
        raise broken("there are more answers than commands")


def _unless(broken: type[Exception], error: Exception) -> Exception:
    """Return an error, or raise it if it is about the connection."""
    if isinstance(error, broken):
        raise error
    return error


def _check_empty(kind: int, broken: type[Exception]) -> None:
    """Raise an error for an answer that is not one with a length below 0."""
    if kind not in _NUMBERED:
        raise broken("the answer is not in the protocol of Redis")


def _number(text: bytes, broken: type[Exception]) -> int:
    try:
        return int(text)
    except ValueError:
        raise broken("the answer is not in the protocol of Redis") from None


async def _extended(
    stream: asyncio.StreamReader, data: bytes, missing: int, broken: type[Exception]
) -> bytes:
    """Return the data with at least `missing` further bytes of the stream."""
    chunks = [data]
    while missing > 0:
        chunk = await stream.read(max(missing, _CHUNK))
        if not chunk:
            raise broken("the server closed the connection")
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)
