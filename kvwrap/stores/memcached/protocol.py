"""The meta commands of memcached, and their answers.

A command is one line, that of a write followed by its value. Each gets one answer, in order, so
any number of them can be sent together.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

import msgspec

from kvwrap.errors import StoreFull, StoreUnavailable

STORED: Final = b"HD"
MISSING: Final = b"NF"
TOO_LARGE: Final = b"SERVER_ERROR object too large for cache"
NO_MEMORY: Final = b"SERVER_ERROR out of memory storing object"
NOTHING: Final = b"mn\r\n"
"""The command that does nothing, and is answered."""
NOT_SENT: Final = b"MN"
"""The status of a command in whose place `NOTHING` was sent."""
REFUSED: Final = frozenset({TOO_LARGE, NO_MEMORY, NOT_SENT})
"""The statuses of writes that did not happen, whatever the server had."""
SETTINGS: Final = b"stats settings\r\n"
NO_ROOM: Final = "has no memory left for this value: give it more (-m), or let it evict"
_ITEM_LIMIT: Final = b"STAT item_size_max "
_LONGEST_LINE: Final = 2048
_CHUNK: Final = 1 << 18
_LONGEST_RELATIVE: Final = 30 * 86_400
"""Seconds beyond which memcached takes an expiry time for a Unix time."""
_LAST_TIME: Final = 2**31 - 1


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to a command.

    Attributes:
        status: Its first word; for an error, the whole line.
        value: The value that was asked for; None without one.
        cas: The unique number of the value's last change.
    """

    status: bytes
    value: bytes | None = None
    cas: int = 0


_WITHOUT_VALUE: Final = {
    status: Reply(status) for status in {STORED, MISSING, b"EN", b"EX", b"NS"} | REFUSED
}
_parse_value: Final = re.compile(rb"VA (\d+)(?: c(\d+)| [^c\s]\S*)*\r\n").match
"""Parses the line before a value: the size of the value, its number, and other flags."""


def largest_command(item_limit: int) -> int:
    """Return how long a command may be whose item the server takes, given its item limit.

    Beside its name and its value an item takes 59 bytes, and a command 12 at least.
    """
    return item_limit - 48


async def read_item_limit(reader: asyncio.StreamReader) -> int | None:
    """Read the answer to `SETTINGS`. Returns the item limit, or None if it is not told."""
    limit = None
    while (line := await reader.readuntil(b"\r\n")).startswith(b"STAT "):
        if line.startswith(_ITEM_LIMIT):
            limit = int(line[len(_ITEM_LIMIT) :])
    return limit


def get(name: str) -> bytes:
    """Return the command that reads a value and its number."""
    return b"mg %b v c\r\n" % name.encode()


def put(name: str, value: bytes, flags: bytes = b"", seconds: int = 0, now: float = 0) -> bytes:
    """Return the command that stores a value.

    Args:
        name: The name.
        value: The value.
        flags: `if_absent()`, or `if_number()`; without it, the value is stored in any case.
        seconds: The lifetime; 0 for no end.
        now: The Unix time of the server.
    """
    if seconds > _LONGEST_RELATIVE:
        end = int(now) + seconds
        seconds = end if end <= _LAST_TIME else 0
    return b"ms %b %d T%d%b\r\n%b\r\n" % (name.encode(), len(value), seconds, flags, value)


def delete(name: str, flags: bytes = b"") -> bytes:
    """Return the command that deletes a value, with `if_number()` or in any case."""
    return b"md %b%b\r\n" % (name.encode(), flags)


def if_absent() -> bytes:
    """Return the flag of a write that happens only if there is no value."""
    return b" ME"


def if_number(cas: int) -> bytes:
    """Return the flag of a change that happens only if the value has this number."""
    return b" C%d" % cas


async def read_replies(reader: asyncio.StreamReader, count: int, replies: list[Reply]) -> None:
    """Read the answers to this number of commands, and add each to `replies` as it comes.

    Raises:
        StoreUnavailable: The server has sent something else.
        IncompleteReadError: The server closed the connection.
    """
    chunks: list[bytes] = []
    missing = 1
    while missing > 0:
        more = await reader.read(_CHUNK)
        if not more:
            raise asyncio.IncompleteReadError(b"".join(chunks)[:100], None)
        chunks.append(more)
        missing -= len(more)
        if missing <= 0:
            rest, missing = _parse(b"".join(chunks), count, replies)
            chunks = [rest]


def _parse(data: bytes, count: int, replies: list[Reply]) -> tuple[bytes, int]:
    """Add the whole answers in the data to `replies`, until these are `count`.

    Returns the data after them, and how many bytes are missing at least; 0 if no answer is.
    """
    at = 0
    while len(replies) < count:
        value = _parse_value(data, at)
        if value is not None:
            size, cas = value.groups()
            start = value.end()
            end = start + int(size)
            if len(data) < end + 2:
                return data[at:], end + 2 - len(data)
            replies.append(Reply(b"VA", data[start:end], int(cas or 0)))
        else:
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > _LONGEST_LINE:
                    raise error_of(b"")
                return data[at:], 1
            reply = _WITHOUT_VALUE.get(data[at:end])
            if reply is None:
                raise error_of(data[at:end])
            replies.append(reply)
        at = end + 2
    return b"", 0


def error_of(line: bytes) -> StoreUnavailable:
    """Return the error to raise for a line that a server sends instead of an answer."""
    if line.startswith(b"SERVER_ERROR out of memory"):
        return StoreFull(NO_ROOM)
    if line == b"ERROR":
        return StoreUnavailable("must be memcached 1.6 or later, which has the meta commands")
    if b"authenticat" in line:
        return StoreUnavailable("refuses this login: check username and password in the URL")
    return StoreUnavailable("has sent an answer that is not one of memcached's protocol")
