"""Random numbers for versions and identifiers, from the operating system.

They do not come from a generator that a program can seed. Two processes with the same seed
would draw equal versions, and one would mistake the other's write for its own. Numbers are read
in blocks, because a system call for each would cost more than a put into memory. A forked child
drops the block, which its parent continues to use.
"""

from __future__ import annotations

import os
import struct

_BLOCK = 512
_unpack = struct.Struct(f"{_BLOCK}Q").unpack
_numbers: list[int] = []
_pop = _numbers.pop


def new_version() -> int:
    """Return a random number of 64 bits that no other call returns, in this process or another."""
    try:
        # One call, so two threads never get the same number.
        return _pop()
    except IndexError:
        block: tuple[int, ...] = _unpack(os.urandom(8 * _BLOCK))
        _numbers.extend(block[1:])
        return block[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_numbers.clear)
