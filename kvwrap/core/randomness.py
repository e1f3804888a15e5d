"""Random numbers for versions and identifiers, from the operating system.

They come from no generator that a program can seed: two processes that call `random.seed`
alike would draw equal versions, and one would take the other's write for its own. The system
is asked for a block at a time, since a call for each number would cost more than a put into
memory. A forked child drops the block, which its parent goes on using.
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
        # One call, so that two threads never get the same number.
        return _pop()
    except IndexError:
        block = _unpack(os.urandom(8 * _BLOCK))
        _numbers.extend(block[1:])
        return block[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_numbers.clear)
