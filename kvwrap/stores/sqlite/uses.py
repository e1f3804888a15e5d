"""How often entries were used, in memory that the processes of a file share.

A use changes one byte, and no row: reading an entry writes nothing to the database. The memory is
that of a file beside the database. It has hashes only, and may be lost at any time.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from kvwrap.stores.shared.s3fifo import MOST_USES, remember, take

_WAYS: Final = 4
"""Words in which a name may be counted: other names hardly ever take all of them."""

_WORDS: Final = 2
"""Words for each expected entry. Entries that were not used since they were put need none."""

_SIZE: Final = 4 * (_WORDS + 1)
"""Bytes for each expected entry: its words, and the hash of a name that was evicted."""

_FEWEST: Final = 512
_MOST: Final = 1 << 20
"""Entries that the memory is made for; it has 6 KB to 12 MB."""


class Uses:
    """Counters of uses, and the names that were evicted lately.

    Args:
        path: The path of the file; None for memory of this process alone.
        entries: The number of entries to expect.
        mode: Permissions of a new file.
    """

    def __init__(self, path: Path | None, entries: int, mode: int = 0o600) -> None:
        entries = min(max(entries, _FEWEST), _MOST)
        shared = None
        if path is not None:
            with suppress(OSError, ValueError):
                shared = _map(path, entries, mode)
        self._memory = shared or mmap.mmap(-1, entries * _SIZE)
        count = len(self._memory) // _SIZE
        self._view = memoryview(self._memory).cast("I")
        self._buckets = count * _WORDS // _WAYS
        self._ghosts = self._view[-count:]

    def note(self, hashed: int) -> None:
        """Count a use of an entry."""
        uses = self.get(hashed)
        if uses < MOST_USES:
            self.set(hashed, uses + 1)

    def get(self, hashed: int) -> int:
        """Return the number of uses that count."""
        first, tag = self._locate(hashed)
        for word in self._view[first : first + _WAYS]:
            if word & ~MOST_USES == tag:
                return word & MOST_USES
        return 0

    def set(self, hashed: int, uses: int) -> None:
        """Set the number of uses."""
        first, tag = self._locate(hashed)
        words = self._view[first : first + _WAYS].tolist()
        ways = [way for way in range(_WAYS) if words[way] & ~MOST_USES == tag]
        if not ways and uses:
            # What has the fewest uses is forgotten; a free word has none.
            ways = [min(range(_WAYS), key=lambda way: words[way] & MOST_USES)]
        for way in ways:
            self._view[first + way] = tag | uses if uses else 0

    def _locate(self, hashed: int) -> tuple[int, int]:
        """Return the first word for a name, and the bits of a word that tell names apart."""
        return hashed % self._buckets * _WAYS, hashed >> 32 & ~MOST_USES

    def remember(self, hashed: int) -> None:
        """Remember an entry that was evicted before it was used."""
        remember(self._ghosts, hashed)  # type: ignore[arg-type]  # a view of integers

    def take(self, hashed: int) -> bool:
        """Return True if an entry is remembered, and forget it."""
        return take(self._ghosts, hashed)  # type: ignore[arg-type]  # a view of integers

    def close(self) -> None:
        """Release the memory; the file stays for the next time."""
        self._ghosts.release()
        self._view.release()
        self._memory.close()


def hash_name(name: bytes) -> int:
    """Return 64 bits for a name, the same ones in every process."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


def _map(path: Path, entries: int, mode: int) -> mmap.mmap:
    """Map the file into memory; one that is made for far fewer or far more entries is replaced."""
    size = entries * _SIZE
    there = path.stat().st_size if path.exists() else None
    if there is not None and (not size // 4 <= there <= size * 4 or there % _SIZE):
        path.unlink(missing_ok=True)
        there = None
    if there is None:
        made = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
        try:
            # With space on the disk for all of it: changing memory without ends the process.
            made.write_bytes(bytes(size))
            made.chmod(mode)
            with suppress(FileExistsError):  # another process was faster, and has the same limits
                path.hardlink_to(made)
        finally:
            made.unlink(missing_ok=True)
    file = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    try:
        return mmap.mmap(file, path.stat().st_size // _SIZE * _SIZE)
    finally:
        os.close(file)
