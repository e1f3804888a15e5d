"""Erasing what was overwritten or deleted, which LMDB leaves in the file.

It is in unused pages, and between the entries of a page: LMDB copies a page into memory that it has
used before, and leaves there what lies between. So that memory is filled with zeros, then every
record is written again, which copies its page, and then the unused pages are filled with zeros.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from kvwrap.stores.lmdb.environment import Environment
from kvwrap.stores.lmdb.records import Records

_PAGES: Final = 256
"""Pages that one transaction fills; a quarter of the least `max_bytes`, so that they fit."""

_RENEWED: Final = 100
"""Records that one transaction writes again; fewer, so that all its memory has been filled."""

_PAGE_HEADER: Final = 16


async def scrub(environment: Environment, write: Callable[..., Awaitable[Any]]) -> bool:
    """Erase what was overwritten or deleted, in several transactions.

    Args:
        environment: The environment.
        write: Runs a function of the records in a transaction.

    Returns:
        True if the unused pages could be filled: no other process has read all the time.
    """
    run = partial(write, needs_room=False)
    zeros = bytes(environment.page_size - _PAGE_HEADER)

    def count(records: Records) -> tuple[int, int]:
        # Processes that were killed may have left a read.
        environment.handle.reader_check()
        return records.count_pages(), environment.handle.info()["last_pgno"] + 1

    async def settle() -> None:
        while await run(Records.delete_fillers, _PAGES) == _PAGES:
            pass
        for _ in range(2):  # pages that were freed become available after the next commit
            await run(Records.put_fillers, range(1), b"")

    await settle()
    await run(Records.put_fillers, range(_PAGES), zeros)
    await settle()
    for renew in (Records.renew_entries, Records.renew_expiries):
        name: bytes | None = b"\0"
        while name is not None:
            name = await run(renew, name, _RENEWED)
    await settle()
    used, before = await run(count)
    for start in range(0, before - used, _PAGES):
        await run(Records.put_fillers, range(start, min(start + _PAGES, before - used)), zeros)
    _, after = await run(count)
    while await run(Records.delete_fillers, _PAGES) == _PAGES:
        pass
    return bool(after - before <= max(_PAGES, (before - used) // 10))
