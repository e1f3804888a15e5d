"""The protocol of Redis: commands as bytes, and answers in whatever pieces they arrive."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvwrap.stores.redis.protocol import pack, read_answers

ANSWERS = (
    b"+OK\r\n:-5\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n-ERR no\r\n"
    b"*3\r\n$1\r\nx\r\n*2\r\n:1\r\n-WRONG a\r\n$-1\r\n"
)
VALUES = [b"OK", -5, b"a\r\n", b"", None, None, [], "ERR no", [b"x", [1, "WRONG a"], None]]


class BrokenError(Exception):
    pass


def error_of(text: str) -> Exception:
    return BrokenError(text) if text.startswith("CLOSE") else ValueError(text)


def as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [as_text(each) for each in value]
    return str(value) if isinstance(value, Exception) else value


async def read(data: bytes, count: int, size: int, *, ends: bool = True) -> list[Any]:
    """Read answers of which `size` bytes arrive at a time."""
    stream = asyncio.StreamReader()

    async def feed() -> None:
        for start in range(0, len(data), size):
            stream.feed_data(data[start : start + size])
            await asyncio.sleep(0)
        if ends:
            stream.feed_eof()

    feeding = asyncio.create_task(feed())
    answers: list[Any] = []
    try:
        await read_answers(stream, count, answers, error_of=error_of, broken=BrokenError)
    except BrokenError as error:
        answers.append(error)
    await feeding
    return as_text(answers)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_answers_in_pieces(size: int) -> None:
    assert await read(ANSWERS, len(VALUES), size, ends=False) == VALUES


@pytest.mark.parametrize("size", [1, 1000])
async def test_every_place_at_which_a_connection_ends(size: int) -> None:
    for length in range(len(ANSWERS)):
        answers = await read(ANSWERS[:length], len(VALUES), size)
        assert answers[-1] == "the server closed the connection"
        assert answers[:-1] == VALUES[: len(answers) - 1]  # whole ones only


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b":x\r\n", "not in the protocol"),
        (b"$x\r\n", "not in the protocol"),
        (b"!3\r\n", "not in the protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not in the protocol"),
        (b"+OK\r\n+OK\r\n", "more answers than commands"),
        (b"-CLOSE me\r\n", "CLOSE me"),
    ],
)
async def test_what_is_no_answer_ends_the_connection(data: bytes, problem: str) -> None:
    answers = await read(data, 1, 1000)
    assert problem in answers[-1]


async def test_many_nested_arrays_need_no_recursion() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"*1\r\n" * 5000 + b":1\r\n")
    answers: list[Any] = []
    await read_answers(stream, 1, answers, error_of=error_of, broken=BrokenError)
    for _ in range(5000):
        assert len(answers) == 1
        answers = answers[0]
    assert answers == [1]


def test_commands_are_packed_as_bulk_strings() -> None:
    commands = [("CLIENT KILL", "ID", 5), ("SET", "é", b"\r\n")]
    assert b"".join(pack(commands)) == (
        b"*4\r\n$6\r\nCLIENT\r\n$4\r\nKILL\r\n$2\r\nID\r\n$1\r\n5\r\n"
        b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$2\r\n\r\n\r\n"
    )
