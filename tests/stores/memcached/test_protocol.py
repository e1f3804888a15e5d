"""Answers of memcached, in whatever pieces they come, and what is not an answer."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import StoreUnavailable
from kvwrap.stores.memcached.protocol import Reply, read_replies

LARGE = bytes(range(256)) * 40
SENT = (
    b"HD\r\nVA 4 c12\r\n\r\n\r\n\r\nEN\r\nVA 0\r\n\r\n"
    + b"VA %d f1 c7\r\n%b\r\n" % (len(LARGE), LARGE)
    + b"NF\r\n"
)
REPLIES = [
    Reply(b"HD"),
    Reply(b"VA", b"\r\n\r\n", 12),
    Reply(b"EN"),
    Reply(b"VA", b""),
    Reply(b"VA", LARGE, 7),
    Reply(b"NF"),
]


async def read(sent: bytes, count: int, size: int) -> list[Reply]:
    """Return the answers in what is sent in pieces of this size, each after the last was read."""
    reader = asyncio.StreamReader()
    replies: list[Reply] = []
    reading = asyncio.ensure_future(read_replies(reader, count, replies))
    for start in range(0, len(sent), size):
        reader.feed_data(sent[start : start + size])
        await asyncio.sleep(0)
    reader.feed_eof()
    await reading
    return replies


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, len(SENT)])
async def test_answers_come_in_any_pieces(size: int) -> None:
    assert await read(SENT, len(REPLIES), size) == REPLIES


@pytest.mark.parametrize("length", [0, 1, 5, 12, len(SENT) // 2, len(SENT) - 1])
async def test_an_end_in_the_middle_is_told(length: int) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await read(SENT[:length], len(REPLIES), 100)


@pytest.mark.parametrize(
    "line",
    [b"VA -2", b"VA", b"VA x", b"VA 1 cx", b"XX", b"HD ", b"ERROR", b"x" * 3000, b"VA 1" * 999],
)
async def test_what_is_no_answer_is_told(line: bytes) -> None:
    with pytest.raises(StoreUnavailable):
        await read(b"HD\r\n" + line + b"\r\n" + b"HD\r\n" * 1000, 3, 4096)
