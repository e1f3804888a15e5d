"""Mutations of bytes, as damage and adversaries make them; equal seeds make equal mutations."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

from kvwrap.core.entry import is_entry

_PIECES = (
    *(b"\0", b"\xff", b"\x7f", b"\x80", b"\x90", b"\x98", b"\x9f", b"\x3f\xff\x01", b"\x10"),
    *(b"[", b"{", b'"', b"\\ud800", b"null", b"9" * 50, b"e999", b"-", b"1e5", b"[" * 3000),
    *(b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 3000),
    *(
        b"\xabk",
        b"\n",
        b"\r\n",
        b":",
        b",",
        b"#",
        b"=",
        b"%",
        b"?",
        b"&",
        b"@",
        b"://",
        b"\xed\xa0\x80",
    ),
)
_NUMBERS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1")

Mutator = Callable[[random.Random, bytes], bytes]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes with one to eight changes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _change(rng, changed)
    return bytes(changed)


def _change(rng: random.Random, data: bytearray) -> None:
    size = len(data)
    at = rng.randrange(size + 1)
    match rng.randrange(8):
        case 0:
            data[at : at + 1] = rng.randbytes(1)
        case 1:
            if at < size:
                data[at] ^= 1 << rng.randrange(8)
        case 2:
            del data[at : at + rng.randrange(1, 9)]
        case 3:
            data[at:at] = rng.choice(_PIECES)
        case 4:
            del data[at:]
        case 5:
            start = rng.randrange(size + 1)
            data[at:at] = data[start : start + rng.randrange(1, 40)]
        case 6:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        case 7:
            data[at : at + 4] = rng.choice(_NUMBERS)


def truncate(rng: random.Random, data: bytes) -> bytes:
    """Return the beginning of the bytes."""
    return data[: rng.randrange(len(data))]


def forge(rng: random.Random, data: bytes) -> bytes:
    """Return a mutated entry; nine of ten have the right checksum for the key `k`."""
    changed = mutate(rng, data)
    return with_checksum(changed) if rng.random() < 0.9 and is_entry(changed) else changed


def with_checksum(data: bytes, collection: str | None = None, key: str = "k") -> bytes:
    """Return the bytes of an entry with the checksum that belongs to them, if they have one."""
    if len(data) < 28 or len(data) < 28 + data[23]:
        return data
    head, body = data[: 24 + data[23]], data[28 + data[23] :]
    name = b"" if collection is None else collection.encode()
    names = b"%d:%b%b" % (0 if collection is None else len(name) + 1, name, key.encode())
    checksum = zlib.crc32(body, zlib.crc32(head, zlib.crc32(names)))
    return head + struct.pack(">I", checksum) + body


def mutations(seeds: Sequence[bytes], count: int, seed: str, mutator: Mutator) -> list[bytes]:
    """Return mutations of the samples, the same ones for the same `seed`."""
    rng = random.Random(seed)
    return [mutator(rng, rng.choice(seeds)) for _ in range(count)]
