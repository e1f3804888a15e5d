"""The parser of RESP3: messages in any pieces."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap.stores.redis.messages import Messages, Push, Refused

STREAM = (
    b"+OK\r\n"
    b">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na\r\n\r\n$0\r\n\r\n"
    b":-7\r\n_\r\n$-1\r\n*-1\r\n*0\r\n#t\r\n,1.5\r\n(12345678901234567890\r\n"
    b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:2\r\n~1\r\n:3\r\n"
    b"=8\r\ntxt:a\r\nb\r\n"
    b">2\r\n$10\r\ninvalidate\r\n_\r\n"
)
MESSAGES: list[Any] = [
    b"OK",
    [b"invalidate", [b"a\r\n"[:2], b""]],
    *(-7, None, None, None, [], b"t", b"1.5", b"12345678901234567890"),
    [b"a", 1, b"b", [2, [3]]],
    b"a\r\nb",
    [b"invalidate", None],
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_of_any_size(size: int) -> None:
    stream = STREAM.replace(b"$2\r\na\r\n\r\n", b"$2\r\na\r\r\n")
    messages = Messages()
    found = []
    for at in range(0, len(stream), size):
        found += messages.feed(stream[at : at + size])
    assert found == MESSAGES
    assert [isinstance(each, Push) for each in found].count(True) == 2


def test_errors_are_values() -> None:
    found = Messages().feed(b"-ERR \xff\r\n!5\r\nERR x\r\n*1\r\n-NOPERM\r\n")
    assert [str(each) for each in (found[0], found[1], found[2][0])] == [
        "ERR \ufffd",  # a script may raise any bytes
        "ERR x",
        "NOPERM",
    ]
    assert all(isinstance(each, Refused) for each in (*found[:2], found[2][0]))


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400\r\n", b"*x\r\n", b"$x\r\n", b"\r\n\r\n"])
def test_another_protocol_is_an_error(stream: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        Messages().feed(stream)
